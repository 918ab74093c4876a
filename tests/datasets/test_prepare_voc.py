"""Preparing VOC's augmented training set from SBD: restarts, refusals and downloads."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from datasets.layouts.voc import VocLayout
from datasets.prepare import main as prepare
from datasets.prepare import sbd_mask
from tests.helpers.folders import names_in, states
from tests.helpers.toy_data import make_toy_voc, write_lines
from utils.cams.masks import read_mask, voc_palette
from utils.errors import InputError

VOC_IDS = [f"2007_{i:06d}" for i in range(6)]
SBD_IDS = ["2008_000000", "2008_000001"]
"""Images that only SBD has masks of."""


def prepare_voc(root: Path, extra: str = "") -> None:
    prepare(f"voc --data_path {root} --num_workers 1 {extra}".split())


def make_voc(root: Path) -> Path:
    """The tiny VOC data set, and the images of SBD."""
    make_toy_voc(root)
    for source, image_id in zip(VOC_IDS, SBD_IDS, strict=False):
        shutil.copyfile(root / "JPEGImages" / f"{source}.jpg", root / "JPEGImages" / f"{image_id}.jpg")
    return root


def make_sbd(root: Path) -> Path:
    """SBD with an image of VOC's train, one of its val, and two of its own."""
    ids = [*SBD_IDS, VOC_IDS[1], VOC_IDS[4]]
    for seed, image_id in enumerate(ids):
        write_mat(root / "cls" / f"{image_id}.mat", sbd_pixels(seed))
    write_lines(root / "train.txt", *ids[::2])
    write_lines(root / "val.txt", *ids[1::2])
    return root


def sbd_pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 21, (12, 10 + seed), np.uint8)


def write_mat(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"GTcls": {"Segmentation": mask, "CategoriesPresent": np.unique(mask), "Boundaries": np.zeros(20)}})


@pytest.fixture
def voc(tmp_path) -> Path:
    """VOC with SBD inside."""
    make_sbd(tmp_path / "VOC2012" / "SBD")
    return make_voc(tmp_path / "VOC2012")


def test_a_toy_release_of_sbd_is_read_as_torchvision_reads_it(voc):
    from torchvision.datasets import SBDataset

    # Its reader takes images from SBD's own folder; only the masks matter here.
    reader = SBDataset(str(voc / "SBD"), image_set="val", mode="segmentation")
    for path in map(Path, reader.masks):
        np.testing.assert_array_equal(sbd_mask(path), np.array(reader._get_target(str(path))))


def test_sbd_and_train_less_val_become_the_training_list(voc):
    prepare_voc(voc)
    path = voc / "ImageSets" / "Segmentation" / "train_aug.txt"
    assert path.read_text().splitlines() == [*VOC_IDS[:4], *SBD_IDS]


def test_training_takes_the_prepared_list(voc):
    prepare_voc(voc)
    ids, source = VocLayout(voc).training_ids()
    assert (len(ids), Path(source).name) == (6, "train_aug.txt")


def test_masks_of_sbd_keep_their_classes(voc):
    prepare_voc(voc)
    for seed, image_id in enumerate(SBD_IDS):
        mask = read_mask(voc / "SegmentationClassAug" / f"{image_id}.png", None, 20)
        np.testing.assert_array_equal(mask, sbd_pixels(seed))


def test_masks_of_sbd_get_the_colours_of_voc(voc):
    prepare_voc(voc)
    with Image.open(voc / "SegmentationClassAug" / f"{SBD_IDS[0]}.png") as image:
        np.testing.assert_array_equal(np.array(image.convert("RGB")), voc_palette()[sbd_pixels(0)])


def test_masks_of_voc_go_before_those_of_sbd_byte_by_byte(voc):
    prepare_voc(voc)
    for image_id in VOC_IDS[:4]:
        name = f"{image_id}.png"
        assert (voc / "SegmentationClassAug" / name).read_bytes() == (voc / "SegmentationClass" / name).read_bytes()


def test_every_image_of_the_training_list_has_a_mask_and_no_other(voc):
    prepare_voc(voc)
    masks = {path.stem for path in (voc / "SegmentationClassAug").glob("*.png")}
    assert masks == set(VocLayout(voc).read_list("train_aug"))


def test_sbd_may_be_anywhere(tmp_path):
    root = make_voc(tmp_path / "VOC2012")
    make_sbd(tmp_path / "benchmark" / "benchmark_RELEASE" / "dataset")
    prepare_voc(root, f"--sbd_path {tmp_path}/benchmark")
    assert len(states(root / "SegmentationClassAug")) == 6


def test_a_second_preparation_of_voc_writes_no_mask(voc, capsys):
    prepare_voc(voc)
    before = states(voc)
    capsys.readouterr()
    prepare_voc(voc)
    assert states(voc) == before
    assert "0 masks written" in capsys.readouterr().out


def test_a_preparation_of_voc_that_was_stopped_writes_what_is_missing(voc):
    prepare_voc(voc)
    before = states(voc)
    lost = voc / "SegmentationClassAug" / f"{SBD_IDS[1]}.png"
    lost.unlink()
    prepare_voc(voc)
    after = states(voc)
    assert {path for path in before if before[path] != after[path]} == {str(lost)}


def test_training_does_not_take_the_masks_of_an_unfinished_preparation_for_all_images(voc):
    prepare_voc(voc)
    (voc / "ImageSets" / "Segmentation" / "train_aug.txt").unlink()
    with pytest.raises(InputError, match="SegmentationClassAug is not complete: run python -m"):
        VocLayout(voc).training_ids()


def test_augmented_masks_from_elsewhere_are_left_alone(voc):
    (voc / "SegmentationClassAug").mkdir()
    (voc / "SegmentationClassAug" / "2009_000001.png").touch()
    with pytest.raises(InputError, match="SegmentationClassAug holds files from elsewhere"):
        prepare_voc(voc)
    assert names_in(voc / "SegmentationClassAug") == {"2009_000001.png"}


def test_a_missing_image_is_named_before_anything_is_written(voc):
    (voc / "JPEGImages" / f"{SBD_IDS[1]}.jpg").unlink()
    with pytest.raises(InputError, match=rf"{SBD_IDS[1]}\.jpg is missing"):
        prepare_voc(voc)
    assert not (voc / "SegmentationClassAug").exists()


@pytest.mark.parametrize("name", ["val", "train"])
def test_a_missing_list_is_named(voc, name):
    (voc / "ImageSets" / "Segmentation" / f"{name}.txt").unlink()
    with pytest.raises(InputError, match=rf"{name}\.txt is missing"):
        prepare_voc(voc)
    assert not (voc / "ImageSets" / "Segmentation" / "train_aug.txt").exists()


def test_an_unknown_image_in_a_list_of_sbd_is_named(voc):
    write_lines(voc / "SBD" / "train.txt", "2010_000001")
    with pytest.raises(InputError, match=r"2010_000001\.jpg is missing"):
        prepare_voc(voc)


def test_a_folder_that_is_not_sbd_is_refused(tmp_path):
    root = make_voc(tmp_path / "VOC2012")
    with pytest.raises(InputError, match="VOC2012/SBD is not the SBD release"):
        prepare_voc(root)


DAMAGE = {
    "is missing$": lambda path: path.unlink(),
    "is no annotation of SBD: ": lambda path: path.write_bytes(path.read_bytes()[:150]),
    "is no annotation of SBD: [A-Z]": lambda path: path.write_bytes(b""),
    "is no annotation of SBD: KeyError: 'GTcls'": lambda path: savemat(path, {"GTinst": np.zeros(3)}),
    r"it holds float64 \(2, 2\)": lambda path: write_mat(path, np.zeros((2, 2))),
    r"it holds uint8 \(2, 2, 3\)": lambda path: write_mat(path, np.zeros((2, 2, 3), np.uint8)),
    r"it holds uint8 \(2, 2\)": lambda path: write_mat(path, np.full((2, 2), 21, np.uint8)),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_a_damaged_annotation_of_sbd_is_named(voc, message):
    path = voc / "SBD" / "cls" / f"{SBD_IDS[0]}.mat"
    DAMAGE[message](path)
    with pytest.raises(InputError, match=rf"{path.name} .*{message}"):
        prepare_voc(voc)
    assert not (voc / "ImageSets" / "Segmentation" / "train_aug.txt").exists()


class Mirror:
    """Stands for torchvision's downloads: counts them, and fails on demand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.fetched: list[str] = []
        self.broken = ""
        monkeypatch.setattr("torchvision.datasets.VOCSegmentation", self.voc)
        monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", self.sbd)
        monkeypatch.setattr("torchvision.datasets.SBDataset.__init__", None)  # which needs SciPy

    def voc(self, root: str, year: str, image_set: str, download: bool) -> None:
        assert (year, download) == ("2012", True)
        self.fetch("voc", Path(root))
        make_voc(Path(root) / "VOCdevkit" / "VOC2012")

    def sbd(self, url: str, root: str, filename: str, md5: str) -> None:
        assert (Path(url).name, filename, len(md5)) == ("benchmark.tgz", "benchmark.tgz", 32)
        self.fetch("sbd", Path(root))
        make_sbd(Path(root) / "benchmark_RELEASE" / "dataset")

    def fetch(self, name: str, folder: Path) -> None:
        """As a real download, leaves half an archive where it fails."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.tgz").touch()
        if self.broken == name:
            raise RuntimeError("the line went dead")
        self.fetched.append(name)


@pytest.fixture
def mirror(monkeypatch) -> Mirror:
    return Mirror(monkeypatch)


def test_downloads_go_where_the_layout_looks_for_them(tmp_path, mirror):
    prepare_voc(tmp_path / "data" / "VOC2012", "--download")
    assert mirror.fetched == ["voc", "sbd"]
    assert len(VocLayout(tmp_path / "data" / "VOC2012").read_list("train_aug")) == 6


def test_a_release_that_is_there_is_not_fetched(voc, mirror):
    prepare_voc(voc, "--download")
    assert mirror.fetched == []


def test_nothing_is_fetched_unasked(tmp_path, mirror):
    with pytest.raises(InputError, match="JPEGImages is missing"):
        prepare_voc(tmp_path / "VOC2012")
    assert mirror.fetched == []


def test_a_download_joins_what_is_in_the_folder(tmp_path, mirror):
    make_sbd(tmp_path / "VOC2012" / "SBD")
    prepare_voc(tmp_path / "VOC2012", "--download")
    assert mirror.fetched == ["voc"]
    assert len(VocLayout(tmp_path / "VOC2012").read_list("train_aug")) == 6


@pytest.mark.parametrize("name", ["voc", "sbd"])
def test_a_failed_download_says_why(tmp_path, mirror, name):
    mirror.broken = name
    with pytest.raises(InputError, match="--download failed: the line went dead"):
        prepare_voc(tmp_path / "VOC2012", "--download")


@pytest.mark.parametrize(("name", "fetched"), [("voc", ["voc", "sbd"]), ("sbd", ["voc", "sbd"])])
def test_a_failed_download_is_taken_up_again(tmp_path, mirror, name, fetched):
    mirror.broken = name
    with pytest.raises(InputError):
        prepare_voc(tmp_path / "VOC2012", "--download")
    mirror.broken = ""
    prepare_voc(tmp_path / "VOC2012", "--download")
    assert mirror.fetched == fetched
    assert len(VocLayout(tmp_path / "VOC2012").read_list("train_aug")) == 6
