"""Real images, which are not in the repository: in `../shared`, or in the folder `DIG_SHARED`."""

import os
from pathlib import Path

import pytest

from tests.helpers import ROOT

SHARED = Path(os.environ.get("DIG_SHARED") or ROOT.parent / "shared")
VOC_MINI = SHARED / "voc_mini" / "VOC2012"
VOC_PHOTOS = SHARED / "voc_photos" / "VOC2012"
COCO_MINI = SHARED / "coco_mini" / "COCO2014"

needs_voc_mini = pytest.mark.skipif(not VOC_MINI.is_dir(), reason=f"the real images are not here: {VOC_MINI}")
needs_voc_photos = pytest.mark.skipif(not VOC_PHOTOS.is_dir(), reason=f"the photographs are not here: {VOC_PHOTOS}")
needs_coco_mini = pytest.mark.skipif(not COCO_MINI.is_dir(), reason=f"the real images are not here: {COCO_MINI}")
