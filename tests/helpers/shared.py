"""Recorded numbers and real images that stand beside a checkout: `../shared`, or where `DIG_SHARED` points."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

from tests.helpers import ROOT

SHARED = Path(os.environ.get("DIG_SHARED") or ROOT.parent / "shared")
PARITY = SHARED / "parity"
VOC_MINI = SHARED / "voc_mini" / "VOC2012"
COCO_MINI = SHARED / "coco_mini" / "COCO2014"

needs_parity = pytest.mark.skipif(not PARITY.is_dir(), reason=f"the recorded numbers are not here: {PARITY}")
needs_voc_mini = pytest.mark.skipif(not VOC_MINI.is_dir(), reason=f"the real images are not here: {VOC_MINI}")
needs_coco_mini = pytest.mark.skipif(not COCO_MINI.is_dir(), reason=f"the real images are not here: {COCO_MINI}")


def parity_module(name: str) -> ModuleType:
    """A Python file of the recorded numbers, such as `fill`."""
    spec = importlib.util.spec_from_file_location(name, PARITY / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
