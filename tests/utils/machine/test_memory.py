"""Memory that was freed goes back to the system."""

import ctypes
import gc
import mmap
import sys

import pytest
import torch

from utils.machine import memory
from utils.machine.memory import no_garbage_collection, resident_memory, return_freed_memory, returning_freed_memory


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_what_was_freed_is_resident_no_more():
    # Small enough to come from the heap, and every second one stays, so that the heap cannot shrink by itself.
    tensors = [torch.ones(16_000) for _ in range(1000)]
    kept = tensors[::2]
    del tensors
    before = resident_memory()
    return_freed_memory()
    assert before - resident_memory() > 16e6  # of 32 MB
    assert all(tensor.sum() == 16_000 for tensor in kept)


@pytest.mark.parametrize(("device", "returns"), [("cpu", [4, 8]), ("cuda", [])])
def test_memory_is_given_back_when_much_has_piled_up(monkeypatch, device, returns):
    seen, at, resident = [], [], [10**9]

    def give_back() -> None:
        at.append(len(seen))
        resident[0] = 10**9

    monkeypatch.setattr(memory, "resident_memory", lambda: resident[0])
    monkeypatch.setattr(memory, "return_freed_memory", give_back)
    for image in returning_freed_memory(range(10), torch.device(device)):
        seen.append(image)
        resident[0] += 4 * 10**8
    assert (seen, at) == (list(range(10)), returns)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_resident_memory_grows_with_what_is_written():
    before = resident_memory()
    with mmap.mmap(-1, 10**8) as kept:  # malloc may hand out pages that are resident already
        for _ in range(100):
            kept.write(b"x" * 10**6)
        assert 0.9e8 < resident_memory() - before < 2e8


def test_garbage_is_collected_again_after_the_context_also_when_it_fails():
    with no_garbage_collection():
        assert not gc.isenabled()
        with no_garbage_collection():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="no labels"), no_garbage_collection():
        raise ValueError("no labels")
    assert gc.isenabled()
