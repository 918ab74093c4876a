"""Images looked at before a run: all bad ones are found at once, good ones are not looked at again."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import datasets.check
from datasets.check import MOST_NAMED, check_images, check_masks
from datasets.layouts.voc import VocLayout
from tests.helpers.toy_data import make_toy_voc, save_mask
from utils.errors import InputError


@pytest.fixture
def paths(tmp_path) -> list[Path]:
    """Thirty good images."""
    (tmp_path / "images").mkdir()
    found = []
    for i in range(30):
        found.append(tmp_path / "images" / f"{i:02d}.png")
        Image.fromarray(np.full((4, 5, 3), i, np.uint8)).save(found[-1])
    return found


def spoil(path: Path) -> None:
    path.write_text("no image")


def test_all_images_are_looked_at_once(tmp_path, paths):
    assert check_images(tmp_path, paths, "first").decoded == 30
    assert check_images(tmp_path, paths, "first").decoded == 0


def test_only_new_images_are_looked_at(tmp_path, paths):
    check_images(tmp_path, paths[:20], "first")
    assert check_images(tmp_path, paths, "first").decoded == 10


def test_always_looks_at_all_again(tmp_path, paths):
    check_images(tmp_path, paths, "first")
    assert check_images(tmp_path, paths, "always").decoded == 30


def test_always_finds_what_the_table_calls_good(tmp_path, paths):
    check_images(tmp_path, paths, "first")
    stat = paths[3].stat()
    paths[3].write_bytes(bytes(stat.st_size))
    os.utime(paths[3], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert check_images(tmp_path, paths, "first").decoded == 0
    with pytest.raises(InputError, match=r"03\.png is no readable image"):
        check_images(tmp_path, paths, "always")


def test_never_looks_at_none(tmp_path, paths):
    spoil(paths[0])
    assert check_images(tmp_path, paths, "never").decoded == 0


def test_never_makes_no_table(tmp_path, paths, private_cache):
    check_images(tmp_path, paths, "never")
    assert list(private_cache.iterdir()) == []


@pytest.mark.parametrize("change", ["size", "time"])
def test_an_image_that_has_changed_is_looked_at_again(tmp_path, paths, change):
    check_images(tmp_path, paths, "first")
    if change == "size":
        paths[7].write_bytes(paths[7].read_bytes() + b" ")
    else:
        os.utime(paths[7], ns=(1, 1))
    assert check_images(tmp_path, paths, "first").decoded == 1


def test_one_bad_image_is_named_with_its_reason(tmp_path, paths):
    spoil(paths[4])
    with pytest.raises(InputError, match=r"^\S+04\.png is no readable image: "):
        check_images(tmp_path, paths, "first")


def test_a_missing_image_is_named(tmp_path, paths):
    paths[4].unlink()
    with pytest.raises(InputError, match=r"04\.png is missing$"):
        check_images(tmp_path, paths, "first")


def test_all_bad_images_are_counted_and_named(tmp_path, paths):
    spoil(paths[4])
    paths[9].unlink()
    with pytest.raises(InputError, match=r"^2 of 30 images cannot be used: \S+04\.png is no .*; \S+09\.png is missing$"):
        check_images(tmp_path, paths, "first")


def test_of_very_many_bad_images_the_first_are_named_and_all_are_listed(tmp_path, paths):
    for path in paths[5:]:
        spoil(path)
    with pytest.raises(InputError, match=r"^25 of 30 images cannot be used: .*; and 5 more, all listed in ") as caught:
        check_images(tmp_path, paths, "first")
    assert str(caught.value).count("is no readable image") == MOST_NAMED
    assert "05.png" in str(caught.value)
    listing = Path(str(caught.value).rsplit(" ", 1)[-1])
    assert len(listing.read_text().splitlines()) == 25


def test_good_images_are_remembered_though_others_are_bad(tmp_path, paths):
    spoil(paths[4])
    with pytest.raises(InputError):
        check_images(tmp_path, paths, "first")
    Image.new("RGB", (3, 3)).save(paths[4])
    assert check_images(tmp_path, paths, "first").decoded == 1


def test_a_bad_image_is_not_remembered_as_good(tmp_path, paths):
    spoil(paths[4])
    for _ in range(2):
        with pytest.raises(InputError, match=r"04\.png"):
            check_images(tmp_path, paths, "first")


def test_a_damaged_table_costs_only_another_look(tmp_path, paths, private_cache):
    check_images(tmp_path, paths, "first")
    (table,) = (private_cache / "dig").iterdir()
    table.write_text("[" * 200_000)
    assert check_images(tmp_path, paths, "first").decoded == 30


def save_deep(path: Path, largest: int) -> Path:
    Image.fromarray(np.array([[0, largest]], np.uint16)).save(path)
    return path


def test_how_images_of_more_than_8_bits_are_read_is_said_once(tmp_path, paths):
    deep = [save_deep(tmp_path / f"{i}.png", 4000 + i) for i in range(3)]
    for _ in range(2):  # seen, and from the table
        said: list[str] = []
        check_images(tmp_path, [*paths, *deep], "first", say=said.append)
        assert said == ["3 images have more than 8 bits: white is 4095 in integers (--white-level)"]


def test_images_that_would_be_scaled_differently_need_to_be_told_how(tmp_path):
    deep = [save_deep(tmp_path / f"{largest}.png", largest) for largest in (4000, 60000)]
    for _ in range(2):
        with pytest.raises(
            InputError, match=r"values of different size: \S+/4000\.png up to 4095, \S+ up to 65535; say with --wh"
        ):
            check_images(tmp_path, deep, "first")
    said: list[str] = []
    assert check_images(tmp_path, deep, "first", 65535, said.append).white == 65535
    assert said == ["2 images have more than 8 bits: white is 65535 in integers (--white-level)"]


def test_validation_images_are_scaled_as_training_images_are(tmp_path):
    trained, validated = ([save_deep(tmp_path / f"{largest}.png", largest)] for largest in (4000, 900))
    for white in (0.0, 4095.0):
        check_images(tmp_path, trained, "first", white)
    with pytest.raises(InputError, match=r"4000\.png up to 4095, \S+900\.png up to 1023; say with --white-level"):
        check_images(tmp_path, validated, "first", like=trained)
    check_images(tmp_path, validated, "first", 4095.0, like=trained)


@pytest.mark.parametrize("when", ["first", "always"])
def test_however_images_are_checked_those_of_validation_are_compared_with_those_of_training(tmp_path, when):
    trained, validated = ([save_deep(tmp_path / f"{largest}.png", largest)] for largest in (60000, 4000))
    check_images(tmp_path, trained, when)
    with pytest.raises(InputError, match="say with --white-level"):
        check_images(tmp_path, validated, when, like=trained)


def test_a_check_that_is_stopped_goes_on_there(tmp_path, paths, monkeypatch):
    look_at, seen = datasets.check.look_at, []

    def stop_at_the_last(path, white):
        seen.append(path)
        if path == paths[-1]:
            raise KeyboardInterrupt
        return look_at(path, white)

    monkeypatch.setattr(datasets.check, "look_at", stop_at_the_last)
    with pytest.raises(KeyboardInterrupt):
        check_images(tmp_path, paths, "first")
    monkeypatch.setattr(datasets.check, "look_at", look_at)
    assert check_images(tmp_path, paths, "first").decoded == 1


def test_an_image_that_is_good_with_a_given_white_is_not_good_without(tmp_path):
    Image.fromarray(np.array([[-1, 1]], np.float32)).save(tmp_path / "a.tif")
    check_images(tmp_path, [tmp_path / "a.tif"], "first", 1.0)
    with pytest.raises(InputError, match=r"a\.tif has values from -1 to 1: say with --white-level"):
        check_images(tmp_path, [tmp_path / "a.tif"], "first")


@pytest.fixture
def voc(tmp_path) -> VocLayout:
    """Six images with masks, whose first two have a cat, and a dog and a sofa."""
    return VocLayout(make_toy_voc(tmp_path / "VOC2012"))


IDS = [f"2007_{i:06d}" for i in range(6)]


def check(layout: VocLayout, when: str = "first", ids: list[str] = IDS) -> tuple[int, list[str]]:
    said: list[str] = []
    return check_masks(layout, ids, layout.labels(ids), when, said.append), said


def change(layout: VocLayout, image_id: str, values: dict[int, int]) -> None:
    """Writes other values into a mask."""
    path = layout.mask_path(image_id)
    mask = np.array(Image.open(path))
    for before, after in values.items():
        mask[np.array(Image.open(path)) == before] = after
    save_mask(mask, path)


def test_masks_are_read_once_and_again_when_they_or_their_images_change(voc):
    assert check(voc) == (6, [])
    assert check(voc) == (0, [])
    assert check(voc, "always") == (6, [])
    assert check(voc, "never") == (0, [])
    os.utime(voc.mask_path(IDS[1]), ns=(1, 1))
    os.utime(voc.image_path(IDS[2]), ns=(1, 1))
    assert check(voc) == (2, [])


def test_all_bad_masks_are_named_with_their_reasons(voc):
    save_mask(np.ones((5, 6), np.uint8), voc.mask_path(IDS[0]))
    change(voc, IDS[1], {12: 77})
    Image.new("RGB", (44, 43)).save(voc.mask_path(IDS[2]))
    spoil(voc.mask_path(IDS[3]))
    reasons = [
        r"0\.png is 6 x 5 pixels, its image 57 x 43",
        r"1\.png holds class 77; there are 20",
        r"2\.png is no mask: it has mode RGB, not one index per pixel; save the numbers of the classes as a PNG .*",
        r"3\.png is no readable image: .*",
    ]
    for _ in range(2):
        with pytest.raises(InputError, match="^4 of 6 masks cannot be used: \\S+" + r"; \S+".join(reasons)):
            check(voc)


def test_masks_of_0_and_255_alone_are_refused_with_what_to_do(voc):
    for image_id in IDS:
        change(voc, image_id, dict.fromkeys(range(1, 21), 255))
    for _ in range(2):  # read, and from the table
        with pytest.raises(InputError) as caught:
            check(voc)
        assert str(caught.value) == (
            f"{voc.mask_path(IDS[0])} holds no class, nor does any other of 6 masks: 0 is the background, 255 is not "
            "scored, the classes are 1 (aeroplane) to 20. Where 255 means an object, write the number of its class"
        )


def test_some_masks_without_a_class_are_counted_and_the_first_is_named(voc):
    for image_id in IDS[2:4]:
        change(voc, image_id, dict.fromkeys(range(1, 21), 255))
    line = f"2 of 6 masks hold no class, only 0 or 255, though their images have labels, such as {voc.mask_path(IDS[2])}"
    assert check(voc) == (6, [line])


def test_classes_that_have_become_fewer_are_seen_though_the_masks_are_known(voc):
    check(voc)
    fewer = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat")
    (voc.root / "classes.txt").write_text("\n".join(fewer))
    layout = VocLayout(voc.root)
    with pytest.raises(InputError, match=r"^5 of 6 masks cannot be used: \S+1\.png holds class 12; there are 8"):
        check_masks(layout, IDS, np.zeros((6, 8), bool), "first")


def test_folders_have_tables_of_their_own(tmp_path, paths):
    check_images(tmp_path / "a", paths, "first")
    assert check_images(tmp_path / "b", paths, "first").decoded == 30
