"""What strangers hand in: an answer or one line, whatever it is."""

import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import load_cam_model
from tests.faults.damage import mutate
from tests.faults.hostile import png, zipped_text
from tests.faults.inputs import make_images
from tests.faults.mutations import alarm
from tests.helpers.toy_data import make_toy_voc
from tests.helpers.trained import make_run
from tools.app.downloads import KINDS
from tools.app.explorer import CAMS, Explorer
from tools.app.uploads import Limits, open_upload
from utils.errors import InputError

LIMITS = Limits(megapixels=1, megabytes=0.5)
UPLOADS = 200


@pytest.fixture(scope="module")
def explorer(tmp_path_factory) -> Explorer:
    root = tmp_path_factory.mktemp("uploads")
    return Explorer(load_cam_model(make_run(root, make_toy_voc(root / "VOC2012")), device="cpu"), None, LIMITS, False)


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> list[Path]:
    return odd_files(tmp_path_factory.mktemp("odd"))


def noise(width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def promising(width: int, height: int) -> bytes:
    """A BMP whose head promises more than follows."""
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(6)


def odd_files(folder: Path) -> list[Path]:
    """Uploads of every kind that is not simply a photograph, and some that are."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40), np.uint8)
    deep = pixels.astype(np.uint16) * 257
    pictures = {
        "grey.jpg": noise().convert("L"),
        "cmyk.jpg": noise().convert("CMYK"),
        "alpha.png": noise().convert("RGBA"),
        "palette.png": noise().convert("P"),
        "bits.png": noise().convert("1"),
        "deep.png": Image.fromarray(deep),
        "deep.tif": Image.fromarray(deep),
        "floats.tif": Image.fromarray(pixels / np.float32(255)),
        "no numbers.tif": Image.fromarray(np.full((30, 40), np.nan, np.float32)),
        "negative.tif": Image.fromarray(np.full((30, 40), -1e9, np.float32)),
        "one pixel.png": Image.new("RGB", (1, 1)),
        "a row.png": Image.new("RGB", (9000, 1)),
        "long.png": noise(2000, 12),
        "black.png": Image.new("RGB", (40, 30)),
        "wide.png": noise(2000, 600),
        "heavy.bmp": noise(600, 400),
        "umlaut ä 漢.png": noise(),
        "x" * 200 + ".png": noise(),
        "new\nline.png": noise(),
        "<img src=x onerror=alert(1)>.png": noise(),
    }
    for name, picture in pictures.items():
        picture.save(folder / name)
    for suffix in ("gif", "webp", "png", "tif"):
        noise().save(folder / f"animated.{suffix}", save_all=True, append_images=[noise(), noise()])
    whole = (folder / "grey.jpg").read_bytes()
    contents = {
        "empty.jpg": b"",
        "text.jpg": b"not an image",
        "page.png": b"<html><script>alert(1)</script></html>",
        "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "program.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) (r) file\nshowpage\n",
        "archive.png": b"PK\x03\x04" + bytes(100),
        "table.csv": b"a,b\n1,2\n",
        "film.mp4": b"\0\0\0\x18ftypmp42" + bytes(64),
        "photo.heic": b"\0\0\0\x18ftypheic" + bytes(64),
        "truncated.jpg": whole[: len(whole) // 2],
        "without suffix": whole,
        "jpeg.png": whole,
        "jpeg.txt": whole,
        "zeros.jpg": bytes(100_000),
        "large.jpg": whole + bytes(600_000),
        "gigapixels.png": png(100_000, 100_000),
        "megapixels.png": png(10_000, 10_000),
        "largest.png": png(2**31 - 1, 2**31 - 1, 16, 6),
        "no size.png": png(0, 0),
        "text inside.png": png(4, 4)[:33] + zipped_text() + png(4, 4)[33:],
        "promise.bmp": promising(900, 900),
        "negative.bmp": promising(-40, -30),
        "bomb.png": zlib.compress(bytes(1 << 20)),
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    (folder / "a folder.jpg").mkdir()
    (folder / "a link.jpg").symlink_to(folder / "nowhere.jpg")
    return [*sorted(folder.iterdir()), folder / "missing.jpg", folder / "nul\0.jpg"]


def damaged_files(folder: Path, count: int) -> list[Path]:
    """Photographs damaged at random."""
    good = [(path.suffix, path.read_bytes()) for path in make_images(folder / "good")]
    rng, paths = random.Random(0), []
    for number in range(count):
        suffix, data = good[number % len(good)]
        path = folder / f"{number}{suffix}"
        path.write_bytes(mutate(data, rng.choice(good)[1], rng)[0])
        paths.append(path)
    return paths


def problem_of(explorer: Explorer, path: Path, out: Path) -> str:
    """What went wrong with an upload; empty where it was answered or refused in one line."""
    with alarm(60):
        photograph, why = explorer.open(str(path))
    if photograph is None:
        plain = why.isprintable() and str(path.parent) not in why and (not path.stem.isprintable() or path.stem in why)
        return "" if why and plain else f"{path.name!r}: {why!r}"
    answer = explorer.answer(photograph, why, ["dog", "cat"], 0.5, 0.3, 4.0)
    shown = answer.cam_mask.startswith("<figure") and answer.heat.count('<img src="data:') == 2
    if not shown or "<img" in answer.message:
        return f"{path.name!r}: {answer}"
    for kind in KINDS:
        explorer.download(photograph, answer.cams, CAMS, kind, 0.3, 4.0, out)
    return ""


def test_every_odd_upload_gets_an_answer_or_one_line(explorer, odd, tmp_path):
    paths = odd + damaged_files(tmp_path, UPLOADS - len(odd))
    assert len(paths) == UPLOADS
    problems = [problem for path in paths if (problem := problem_of(explorer, path, tmp_path / "out"))]
    assert problems == []


def test_no_upload_is_no_answer_and_no_reason(explorer):
    assert explorer.open(None) == (None, "")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty.jpg", "empty.jpg is empty"),
        ("large.jpg", "large.jpg has 0.6 MB; 0.5 MB are the limit"),
        ("wide.png", "wide.png has 3.6 MB; 0.5 MB are the limit"),
        ("megapixels.png", "megapixels.png is 10000 x 10000 pixels, 100.0 megapixels; 1 are the limit"),
        ("one pixel.png", "one pixel.png: the image is 1 x 1 pixels, smaller than one patch of 8"),
        ("drawing.svg", "drawing.svg is no readable image: such files are not read: save it as PNG"),
        ("a link.jpg", "a link.jpg is missing"),
    ],
)
def test_the_line_says_which_file_and_why(explorer, odd, name, reason):
    assert explorer.open(str(odd[0].parent / name)) == (None, reason)


def test_limits_do_not_concern_what_is_at_them(tmp_path):
    noise(40, 25).save(tmp_path / "at.png")
    size = (tmp_path / "at.png").stat().st_size
    assert open_upload(tmp_path / "at.png", Limits(0.001, size / 1e6)).size == (40, 25)
    with pytest.raises(InputError, match=r"^at\.png is 40 x 25 pixels, 0\.0 megapixels; 0\.000999 are the limit$"):
        open_upload(tmp_path / "at.png", Limits(0.000999, 1))
