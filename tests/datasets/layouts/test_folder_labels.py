"""What is in one's own images: tables, JSON files, and sub-folders of classes."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from datasets.layouts.folder_labels import class_folders, id_of, labelled_images
from tests.helpers.toy_data import write_lines
from utils.errors import InputError
from utils.images import IMAGE_SUFFIXES


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with files that are images by their names."""
    for name in ("a.jpg", "images/b.PNG", "images/trip/c.jpeg", "with space.webp"):
        touch(tmp_path / name)
    return tmp_path


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def from_table(root: Path, *lines: str) -> dict[str, list[str]]:
    return said(root, write_lines(root / "labels.csv", *lines))


def from_json(root: Path, content: object) -> dict[str, list[str]]:
    (root / "labels.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return said(root, root / "labels.json")


def said(root: Path, source: Path, known: Sequence[str] = ()) -> dict[str, list[str]]:
    return {image_id: list(image.labels) for image_id, image in labelled_images(root, source, known).images.items()}


def test_a_table_has_an_image_and_its_labels_per_line(root):
    assert from_table(root, "a.jpg,dog,cat", "b.PNG,cow") == {"a": ["dog", "cat"], "b": ["cow"]}


@pytest.mark.parametrize("name", ["b", "b.PNG", "images/b", "images/b.PNG", "./b.PNG", " b "])
def test_an_image_may_be_named_in_any_of_these_ways(root, name):
    assert from_table(root, f"{name},dog") == {"b": ["dog"]}


def test_images_of_sub_folders_have_them_in_their_ids(root):
    assert from_table(root, "trip/c.jpeg,dog") == {"trip__c": ["dog"]}


def test_an_image_may_be_named_by_its_absolute_path(root):
    assert from_table(root, f"{root}/images/b.PNG,dog") == {"b": ["dog"]}


@pytest.mark.parametrize("name", ["Labels.CSV", "labels.tsv", "labels.xlsx"])
def test_a_table_under_another_name_is_told_how_to_call_it(root, name):
    touch(root / name)
    with pytest.raises(InputError, match=rf"write labels\.csv, .* \({name} is not read: save it as labels\.csv\)$"):
        class_folders(root)


def test_an_image_without_labels_is_one_of_the_images(root):
    assert from_table(root, "a.jpg", "b,") == {"a": [], "b": []}


@pytest.mark.parametrize("header", ["image,label", "Image,labels,,", "image"])
def test_a_header_is_no_image(root, header):
    assert from_table(root, header, "a,dog") == {"a": ["dog"]}


def test_a_first_line_of_an_image_called_image_is_no_header(root):
    touch(root / "image.jpg")
    assert from_table(root, "image,dog") == {"image": ["dog"]}


def test_a_header_further_down_is_refused(root):
    with pytest.raises(InputError, match=r"labels\.csv line 2 names 'image', and there is no such image"):
        from_table(root, "a,dog", "image,label")


def test_blank_lines_and_cells_do_not_count(root):
    assert from_table(root, "", "a,dog,,", ",,", "b, ,cat", "") == {"a": ["dog"], "b": ["cat"]}


def test_quotes_and_a_byte_order_mark_are_understood(root):
    (root / "labels.csv").write_bytes('\ufeff"a.jpg","lamp, tall"\r\nb,dog\r\n'.encode())
    assert said(root, root / "labels.csv", ["dog", "lamp, tall"]) == {"a": ["lamp, tall"], "b": ["dog"]}


def test_names_may_have_spaces(root):
    assert from_table(root, "with space.webp,dog") == {"with space": ["dog"]}


def test_images_are_in_the_order_of_the_table(root):
    assert list(from_table(root, "b", "a")) == ["b", "a"]


def test_a_missing_image_is_refused_by_line_and_name(root):
    with pytest.raises(
        InputError, match=r"labels\.csv line 2 names 'gone\.jpg', and there is no such image in .* or its images/"
    ):
        from_table(root, "a,dog", "gone.jpg,dog")


def test_another_suffix_is_another_image(root):
    with pytest.raises(InputError, match=r"names 'a\.png', and there is no such image"):
        from_table(root, "a.png,dog")


@pytest.mark.parametrize(
    ("file", "name", "reason"),
    [
        ("trip.nef", "trip", r"and there is only \S+/trip\.nef: raw files are not read: save it as PNG"),
        ("trip.nef", "trip.nef", "which is no image: raw files are not read: save it as PNG"),
        ("images/b.PNG", "b.png", r"and there is no such image in \S+ or its images/ \(did you mean 'b\.PNG'\?\)"),
        ("d.jpg/1.jpg", "d.jpg", r"and \S+/d\.jpg is no file"),
    ],
)
def test_an_image_that_is_not_there_is_told_with_the_reason(root, file, name, reason):
    touch(root / file)
    with pytest.raises(InputError, match=rf"labels\.csv line 1 names '{name}', {reason}$"):
        from_table(root, f"{name},dog")


def test_a_link_that_leads_nowhere_is_told_and_hurts_no_other_image(root):
    (root / "loop.jpg").symlink_to(root / "loop.jpg")
    (root / "loop").symlink_to(root / "loop")
    assert from_table(root, "a,dog") == {"a": ["dog"]}
    with pytest.raises(InputError, match=r"line 1 names 'loop\.jpg', and \S+/loop\.jpg is a link that leads nowhere$"):
        from_table(root, "loop.jpg,dog")


@pytest.mark.parametrize("again", ["a,cat", "a.jpg,dog"])
def test_two_lines_for_an_image_are_refused_with_both(root, again):
    with pytest.raises(InputError, match=r"labels\.csv line 3 names 'a' again, after .*labels\.csv line 1: give all"):
        from_table(root, "a.jpg,dog", "b", again)


def test_a_name_that_may_be_two_images_is_refused_with_both(root):
    touch(root / "a.png")
    with pytest.raises(InputError, match=r"names 'a', which may be .*a\.jpg or .*a\.png"):
        from_table(root, "a,dog")


def test_an_image_that_lies_in_both_places_is_refused_with_both(root):
    touch(root / "images" / "a.jpg")
    with pytest.raises(InputError, match=r"names 'a\.jpg', which may be .*/a\.jpg or .*/images/a\.jpg"):
        from_table(root, "a.jpg,dog")


def test_the_very_name_of_an_image_goes_before_that_of_another_without_suffix(root):
    touch(root / "a.jpg.png")
    assert from_table(root, "a.jpg,dog", "a.jpg.png,cat") == {"a": ["dog"], "a.jpg": ["cat"]}


def test_two_images_of_one_id_are_refused_with_both(root):
    touch(root / "trip__c.jpg")
    with pytest.raises(InputError, match=r"/trip__c\.jpg and .*/trip/c\.jpeg would both have the id 'trip__c'"):
        from_table(root, "trip/c,dog", "trip__c,dog")


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "images/../../a.jpg", "images\\b.PNG", ".", '""'])
def test_a_name_outside_the_folder_is_refused(root, name):
    with pytest.raises(InputError, match=r"labels\.csv line 1 names '.*', which is no image inside"):
        from_table(root, f"{name},dog")


@pytest.mark.parametrize("name", ["a\0b", "\ud800/x", "\ud800", "x" * 5000])
def test_a_name_that_no_file_can_have_is_a_missing_image(root, name):
    with pytest.raises(InputError, match=r"labels\.json names '.*', and there is no such image"):
        from_json(root, {name: ["dog"]})


def test_an_image_that_results_could_not_be_named_after_is_refused(root):
    touch(root / f"{'x' * 201}.jpg")
    with pytest.raises(InputError, match=r"line 1: no file can be named after 'x{200}': rename that image"):
        from_table(root, "x" * 201)


def test_hidden_files_and_other_files_are_no_images(root):
    touch(root / "notes.txt")
    touch(root / "._a.jpg")
    for name, reason in (("notes.txt", ".txt is no suffix of images"), ("._a.jpg", "macOS keeps such a file beside each")):
        with pytest.raises(InputError, match=f"names '{name}', which is no image: {reason}"):
            from_table(root, name)


@pytest.mark.parametrize("content", ["", "image,label\n", "\n,\n"])
def test_a_table_without_images_is_refused(root, content):
    (root / "labels.csv").write_text(content)
    with pytest.raises(InputError, match=r"labels\.csv names no image"):
        said(root, root / "labels.csv")


@pytest.mark.parametrize("content", [b"\xff\xfea", b"a," + b"x" * 200_000])
def test_a_table_that_is_no_text_is_refused_by_file(root, content):
    (root / "labels.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"labels\.csv is no table of labels: "):
        said(root, root / "labels.csv")


def test_json_has_a_list_of_labels_per_image(root):
    assert from_json(root, {"b.PNG": ["dog", " cat "], "a": []}) == {"b": ["dog", "cat"], "a": []}


def test_an_image_named_twice_in_json_is_refused(root):
    with pytest.raises(InputError, match=r"labels\.json: 'a' names 'a' again"):
        from_json(root, '{"a": ["dog"], "a": ["cat"]}')


@pytest.mark.parametrize("labels", ["dog", {"dog": 1}, {}, [1], [["dog"]], None, [""], [None]])
def test_labels_that_are_no_list_of_names_are_refused_by_image(root, labels):
    with pytest.raises(InputError, match=r"labels\.json: the labels of 'a' must be a list of names"):
        from_json(root, {"a": labels})


@pytest.mark.parametrize("content", ["[]", '[["a", ["dog"]]]', "3", '"a"', "null"])
def test_json_of_another_form_is_refused(root, content):
    with pytest.raises(InputError, match=r'labels\.json must hold {"image": \["label", …\], …}'):
        from_json(root, content)


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "a,dog"])
def test_broken_json_is_refused_by_file(root, content):
    with pytest.raises(InputError, match=r"labels\.json is no JSON: "):
        from_json(root, content)


def test_an_empty_object_names_no_image(root):
    with pytest.raises(InputError, match=r"labels\.json names no image"):
        from_json(root, {})


@pytest.fixture
def sorted_images(tmp_path) -> Path:
    """Folders of two classes that share a file name."""
    for name in ("dog/1.jpg", "dog/2.png", "cat/1.jpg"):
        touch(tmp_path / name)
    return tmp_path


def test_the_folder_of_an_image_is_its_label(sorted_images):
    assert said(sorted_images, sorted_images) == {"cat__1": ["cat"], "dog__1": ["dog"], "dog__2": ["dog"]}


@pytest.mark.parametrize("name", ["masks", "SegmentationClass", "lists", "ImageSets", ".cache"])
def test_some_folders_are_no_classes(sorted_images, name):
    touch(sorted_images / name / "1.png")
    assert [folder.name for folder in class_folders(sorted_images)] == ["cat", "dog"]


def test_a_linked_folder_is_a_class_too(sorted_images, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    touch(other / "1.jpg")
    (sorted_images / "cow").symlink_to(other)
    assert said(sorted_images, sorted_images)["cow__1"] == ["cow"]


@pytest.mark.parametrize("place", ["", "images"])
def test_an_image_outside_of_the_folders_of_classes_is_refused(sorted_images, place):
    touch(sorted_images / place / "3.jpg")
    with pytest.raises(InputError, match=r"holds images, and nothing says what is in them: write labels\.csv"):
        class_folders(sorted_images)


def test_a_folder_without_images_is_refused_as_class(sorted_images):
    (sorted_images / "annotations").mkdir()
    with pytest.raises(InputError, match=r"/annotations holds no image: without labels\.csv .* every sub-folder is a class"):
        class_folders(sorted_images)


def test_folders_within_the_folder_of_a_class_are_refused(sorted_images):
    touch(sorted_images / "dog" / "puppies" / "3.jpg")
    with pytest.raises(InputError, match=r"/dog holds folders"):
        class_folders(sorted_images)


def test_a_single_folder_of_images_is_a_class_only_if_a_list_says_so(tmp_path):
    touch(tmp_path / "photos" / "1.jpg")
    with pytest.raises(InputError, match=r"photos is the only folder of images: name it in classes\.txt"):
        class_folders(tmp_path)
    write_lines(tmp_path / "classes.txt", "photos")
    assert said(tmp_path, tmp_path) == {"photos__1": ["photos"]}


def test_a_folder_without_anything_is_no_folder_of_classes(tmp_path):
    with pytest.raises(InputError, match="holds no images in sub-folders"):
        class_folders(tmp_path)


@pytest.mark.parametrize(
    ("name", "image_id"),
    [("dog/1.jpg", "dog__1"), ("images/1.jpg", "1"), ("1", "1"), ("photo.v2", "photo.v2"), ("images", "images"), (".", "")],
)
def test_an_id_is_a_path_without_slashes_and_suffix(name, image_id):
    assert id_of(name) == image_id


def test_usual_suffixes_are_those_of_images():
    assert {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"} <= {*IMAGE_SUFFIXES}
    assert not {".txt", ".csv", ".eps", ".pdf", ".svg"} & {*IMAGE_SUFFIXES}


def test_folders_named_like_parts_of_a_data_set_are_no_classes(tmp_path):
    for name in ("train", "Val"):
        touch(tmp_path / name / f"{name}.png")
    with pytest.raises(InputError, match=r"Val is named like a part of a data set, not like a class: write labels\.csv"):
        class_folders(tmp_path)
    (tmp_path / "classes.txt").write_text("Val\ntrain\n")
    assert [folder.name for folder in class_folders(tmp_path)] == ["Val", "train"]
