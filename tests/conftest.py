"""Fixtures of all tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from .helpers.device import hide_accelerators
from .helpers.toy_data import make_toy_coco, make_toy_voc


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """On tiny tensors, threads cost more than they bring; the same in processes that tests start."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def on_the_cpu() -> Iterator[pytest.MonkeyPatch]:
    """Tests run on the CPU, whatever else the machine has."""
    with pytest.MonkeyPatch.context() as patch:
        hide_accelerators(patch)
        yield patch


@pytest.fixture(autouse=True)
def accelerators(request, on_the_cpu) -> Iterator[None]:
    """Shows the machine's accelerators to tests that are marked `accelerator`."""
    if request.node.get_closest_marker("accelerator") is None:
        yield
        return
    on_the_cpu.undo()
    yield
    hide_accelerators(on_the_cpu)


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory) -> Iterator[None]:
    """Keeps tables that fixtures of several tests cache out of the home folder: those are made before `private_cache`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("shared-cache")))
        yield


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch) -> Path:
    """Keeps tables that a test caches out of the home folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def toy_voc(tmp_path) -> Path:
    """A tiny data set in VOC layout."""
    return make_toy_voc(tmp_path / "VOC2012")


@pytest.fixture
def toy_coco(tmp_path) -> Path:
    """A tiny data set in COCO layout, without masks."""
    return make_toy_coco(tmp_path / "COCO2014")
