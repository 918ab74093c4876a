"""Memory that was freed goes back to the system."""

import ctypes
import gc
import sys
from pathlib import Path

import pytest
import torch

from utils.machine import memory
from utils.machine.memory import no_garbage_collection, return_freed_memory, returning_freed_memory


def resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_what_was_freed_is_resident_no_more():
    # Small enough to come from the heap, and every second one stays, so that the heap cannot shrink by itself.
    tensors = [torch.ones(16_000) for _ in range(1000)]
    kept = tensors[::2]
    del tensors
    before = resident_pages()
    return_freed_memory()
    assert before - resident_pages() > 4000  # of 7800 pages of 4 KiB
    assert all(tensor.sum() == 16_000 for tensor in kept)


@pytest.mark.parametrize(("device", "returns"), [("cpu", [0, 16, 32]), ("cuda", [])])
def test_memory_is_given_back_before_every_sixteenth_image(monkeypatch, device, returns):
    seen, at = [], []
    monkeypatch.setattr(memory, "return_freed_memory", lambda: at.append(len(seen)))
    for image in returning_freed_memory(range(40), torch.device(device)):
        seen.append(image)
    assert (seen, at) == (list(range(40)), returns)


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
