"""The layout of shards: lists by name, labels as JSON or class number, and one line for each damaged sample."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.images import FolderImages, Visit
from datasets.layouts.base import open_layout
from datasets.layouts.shards import ShardLayout
from datasets.pixels import upright_size
from tests.helpers.shards import jpeg, write_tar
from tests.helpers.toy_data import save_mask, write_lines
from utils.errors import InputError
from utils.images import open_rgb

DOG, CAT_AND_DOG = b'{"labels": ["dog"]}', json.dumps({"labels": ["dog", "cat"], "caption": "two"}).encode()
PAIR = {"jpg": jpeg(1), "json": DOG}


@pytest.fixture
def pets(tmp_path) -> Path:
    """Two shards of `train` and one of `val`."""
    write_tar(tmp_path / "train-000000.tar", {"a.jpg": jpeg(1), "a.json": DOG, "b/c.jpg": jpeg(2), "b/c.json": CAT_AND_DOG})
    write_tar(tmp_path / "train-000001.tar", {"d.json": DOG, "d.txt": b"a caption", "d.jpg": jpeg(3)})
    write_tar(tmp_path / "val-000000.tar", {"e.jpg": jpeg(4), "e.json": DOG})
    return tmp_path


def test_the_names_of_shards_are_lists(pets):
    layout = open_layout(pets)
    assert isinstance(layout, ShardLayout)
    assert layout.read_list("train") == ["a", "b__c", "d"]
    assert layout.read_list("val") == ["e"]
    assert layout.read_list("all") == ["a", "b__c", "d", "e"]
    assert layout.training_ids() == (["a", "b__c", "d"], f"the shards in {pets}")


def test_labels_come_from_json(pets):
    layout = open_layout(pets)
    assert layout.classes == ("cat", "dog")
    assert layout.labels(["a", "b__c"]).tolist() == [[False, True], [True, True]]


def test_labels_come_from_numbers_of_classes(tmp_path):
    write_tar(tmp_path / "00000.tar", {"a.jpg": jpeg(1), "a.cls": b"1\n"})
    write_lines(tmp_path / "classes.txt", "cat", "dog")
    assert open_layout(tmp_path).labels(["a"]).tolist() == [[False, True]]


def test_images_are_those_in_the_shard(pets):
    path = open_layout(pets).image_path("b__c")
    assert open_rgb(path).getpixel((0, 0)) == Image.open(jpeg_file(pets, 2)).convert("RGB").getpixel((0, 0))
    assert upright_size(path) == (8, 10)


def jpeg_file(folder: Path, seed: int) -> Path:
    path = folder / "expected.jpg"
    path.write_bytes(jpeg(seed))
    return path


def test_without_names_train_is_all_but_val(tmp_path):
    write_tar(tmp_path / "00000.tar", {"a.jpg": jpeg(1), "a.json": DOG, "b.jpg": jpeg(2), "b.json": DOG})
    write_lines(tmp_path / "lists" / "val.txt", "b")
    assert open_layout(tmp_path).read_list("train") == ["a"]


def test_a_changed_shard_is_read_again(pets):
    assert open_layout(pets).read_list("val") == ["e"]
    write_tar(pets / "val-000000.tar", {"other.jpg": jpeg(5), "other.json": CAT_AND_DOG})
    assert open_layout(pets).read_list("val") == ["other"]


def test_the_layout_is_pickled_by_its_path(pets):
    layout = open_layout(pets)
    assert len(layout.samples) == 4
    assert pickle.loads(pickle.dumps(layout)) == layout
    assert len(pickle.dumps(layout)) < 300


def test_the_denoiser_learns_from_shards_and_not_from_masks(pets):
    save_mask(np.zeros((8, 10), np.uint8), pets / "SegmentationClass" / "a.png")
    images = FolderImages(pets, 8, crop=True, seed=0)
    assert [path.name for path in images.paths] == ["a.jpg", "c.jpg", "d.jpg", "e.jpg"]
    assert images[Visit(0, 3)][0].shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.json": DOG}, r"00000\.tar holds a\.json without an image"),
        ({"a.jpg": jpeg(1), "a.png": jpeg(1), "a.json": DOG}, r"holds both a\.jpg and a\.png for one sample"),
        ({"a.jpg": jpeg(1), "a.cls": b"0", "a.json": DOG}, r"holds both a\.cls and a\.json for one sample"),
        ({"a.jpg": jpeg(1)}, r"00000\.tar: a has no labels"),
        ({"a.jpg": jpeg(1), "a.json": b"{"}, r"a\.json is no JSON"),
        ({"a.jpg": jpeg(1), "a.json": b'{"labels": "dog"}'}, r"a\.json must hold"),
        ({"a.jpg": jpeg(1), "a.json": b'{"labels": ["background"]}'}, r"a\.json: 'background' is no class"),
        ({"a.jpg": jpeg(1), "a.json": b'{"labels": ["bird"]}'}, r"a has the label 'bird', none of the 2 classes"),
        ({"a.jpg": jpeg(1), "a.cls": b"two"}, r"a\.cls is no number of a class"),
        ({"a.jpg": jpeg(1), "a.cls": b"2"}, r"a has class 2, but classes\.txt names 2"),
        ({"note.txt": b"nothing"}, "holds shards without images"),
    ],
)
def test_a_damaged_sample_is_one_line(tmp_path, files, message):
    write_lines(tmp_path / "classes.txt", "cat", "dog")
    write_tar(tmp_path / "00000.tar", files)
    with pytest.raises(InputError, match=message):
        open_layout(tmp_path).labels(["a"])


def test_numbers_need_names(tmp_path):
    write_tar(tmp_path / "00000.tar", {"a.jpg": jpeg(1), "a.cls": b"1"})
    with pytest.raises(InputError, match=r"00000\.tar has numbers of classes: classes\.txt beside it must name"):
        open_layout(tmp_path).labels(["a"])


def test_an_image_in_two_shards_is_refused(pets):
    write_tar(pets / "val-000001.tar", {"a.jpg": jpeg(1), "a.json": DOG})
    with pytest.raises(InputError, match=r"holds a twice: in train-000000\.tar and val-000001\.tar"):
        open_layout(pets).read_list("val")


def test_images_beside_shards_are_refused(pets):
    (pets / "cat").mkdir()
    (pets / "cat" / "1.jpg").write_bytes(jpeg(6))
    with pytest.raises(InputError, match=r"cat holds images beside train-000000\.tar"):
        open_layout(pets)
    with pytest.raises(InputError, match=r"has both train-000000\.tar and 1\.jpg"):
        FolderImages(pets, 8, crop=True, seed=0)


def test_an_unknown_list_is_one_line(pets):
    with pytest.raises(InputError, match=r"no shard is named test-000000\.tar: name another list, such as val"):
        open_layout(pets).read_list("test")


def test_a_damaged_image_is_named_with_its_shard(pets):
    write_tar(pets / "val-000000.tar", {"e.jpg": b"no image", "e.json": DOG})
    with pytest.raises(InputError, match=r"val-000000\.tar#512\+8/e\.jpg is no readable image"):
        open_rgb(open_layout(pets).image_path("e"))


def test_a_shard_that_is_gone_is_named(pets):
    path = open_layout(pets).image_path("e")
    (pets / "val-000000.tar").unlink()
    with pytest.raises(InputError, match=r"val-000000\.tar.* is missing"):
        open_rgb(path)


def test_a_list_may_name_images_by_their_paths_in_the_shards(tmp_path):
    files = {f"{folder}/{k}.{kind}": data for folder in ("cat", "dog") for k in (1, 2) for kind, data in PAIR.items()}
    write_tar(tmp_path / "00000.tar", files)
    write_lines(tmp_path / "lists" / "val.txt", "dog/2.jpg", "cat__1")
    layout = open_layout(tmp_path)
    assert layout.read_list("val") == ["dog__2", "cat__1"]
    assert layout.training_ids()[0] == ["cat__2", "dog__1"]
    write_lines(tmp_path / "lists" / "val.txt", "dog/3.jpg")
    with pytest.raises(InputError, match=r"val\.txt names 'dog/3\.jpg', which is in no shard"):
        layout.read_list("val")


@pytest.mark.parametrize("line", ["/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png", "2007_000032 1"])
def test_a_list_may_have_the_lines_of_vocs_lists(tmp_path, line):
    write_tar(tmp_path / "00000.tar", {"2007_000032.jpg": jpeg(1), "2007_000032.json": DOG})
    write_lines(tmp_path / "lists" / "val.txt", line)
    assert open_layout(tmp_path).read_list("val") == ["2007_000032"]
    write_lines(tmp_path / "lists" / "val.txt", "")
    with pytest.raises(InputError, match=r"val\.txt names no image"):
        open_layout(tmp_path).read_list("val")


def test_an_image_whose_name_has_two_dots_is_refused_where_it_is_no_samples(tmp_path):
    write_tar(tmp_path / "00000.tar", {"fox.1.jpg": jpeg(1), "fox.1.json": DOG})
    with pytest.raises(InputError, match=r"holds fox\.1\.jpg: a name in a shard ends at its first dot"):
        open_layout(tmp_path).read_list("all")
    with pytest.raises(InputError, match=r"holds fox\.1\.jpg: a name in a shard ends at its first dot"):
        FolderImages(tmp_path, 8, False, 0)


def test_the_denoiser_learns_from_the_images_of_the_samples(tmp_path):
    write_tar(tmp_path / "00000.tar", {"./a.jpg": jpeg(1), "./a.json": DOG, "./a.seg.png": jpeg(2)})
    assert open_layout(tmp_path).read_list("all") == ["a"]
    assert [path.name for path in FolderImages(tmp_path, 8, False, 0).paths] == ["a.jpg"]
