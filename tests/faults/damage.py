"""Random damage to the bytes of a file."""

import random
import re
import string

HUGE = (b"1e999", b"9" * 400, b"9" * 5000, b"-1", b"4294967296", b"9223372036854775808", b"NaN", b"0", b"[]", b'"x"')


def mutate(data: bytes, other: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Damages bytes, once or a few times.

    Args:
        data: what is damaged.
        other: what may be spliced in.
        rng: of the damage.

    Returns:
        The bytes, and the names of what was done.
    """
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        change = rng.choice(CHANGES)
        data = change(data, other, rng)
        done.append(change.__name__)
    return data, " ".join(done)


def span(data: bytes, rng: random.Random, longest: int = 1 << 30) -> tuple[int, int]:
    """A random slice."""
    start = rng.randint(0, len(data))
    return start, rng.randint(start, min(len(data), start + rng.choice((1, 4, 16, 64, 1024, longest))))


def flip_bits(data: bytes, other: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 4, 32)) if data else 0):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def change_bytes(data: bytes, other: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 4, 32)) if data else 0):
        changed[rng.randrange(len(data))] = rng.choice((0, 10, 34, 47, 127, 128, 255, rng.randrange(256)))
    return bytes(changed)


def damage_start(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Most formats say at their start what follows."""
    return flip_bits(data[:200], other, rng) + data[200:]


def damage_end(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Archives say at their end what is in them."""
    return data[:-400] + change_bytes(data[-400:], other, rng)


def truncate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randint(0, len(data))]


def delete(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, end = span(data, rng)
    return data[:start] + data[end:]


def duplicate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, end = span(data, rng)
    return data[:end] + data[start:end] * rng.choice((1, 1, 5)) + data[end:]


def insert(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, _ = span(data, rng)
    return data[:start] + rng.randbytes(rng.choice((1, 2, 8, 100))) + data[start:]


def insert_slice(data: bytes, other: bytes, rng: random.Random) -> bytes:
    (start, end), (place, _) = span(other, rng), span(data, rng)
    return data[:place] + other[start:end] + data[place:]


def splice(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


def zero_run(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, end = span(data, rng)
    return data[:start] + bytes(end - start) + data[end:]


def huge_number(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Another number in text, or the largest in binary."""
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", data))
    if not numbers or any(byte > 127 for byte in data[:200]) or rng.random() < 0.1:
        start, _ = span(data, rng)
        return data[:start] + b"\xff" * 4 + data[start + 4 :]
    number = rng.choice(numbers)
    return data[: number.start()] + rng.choice(HUGE) + data[number.end() :]


def other_text(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Another word in text."""
    words = list(re.finditer(rb"[A-Za-z_]{2,}", data))
    if not words:
        return insert(data, other, rng)
    word = rng.choice(words)
    noise = "".join(rng.choices(string.printable, k=5)).encode()
    by = rng.choice((b"null", b"true", b"../../x", b"\xff\xfe", b"\\ud800", b"\x00", b"", noise, rng.choice(words)[0]))
    return data[: word.start()] + by + data[word.end() :]


CHANGES = (
    flip_bits,
    change_bytes,
    damage_start,
    damage_end,
    truncate,
    delete,
    duplicate,
    insert,
    insert_slice,
    splice,
    zero_run,
    huge_number,
    other_text,
)
