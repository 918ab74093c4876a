"""Image-level labels: what the annotations say, and the cache of it."""

import os
from pathlib import Path

import numpy as np
import pytest

from datasets.labels.classes import VOC_CLASSES
from datasets.labels.image_labels import cache_folder, object_names, read_cache
from datasets.layouts.voc import VocLayout
from tests.helpers.toy_data import OBJECTS, write_annotation
from utils.errors import InputError

IDS = [f"2007_{i:06d}" for i in range(6)]


def names_of(row: np.ndarray) -> set[str]:
    return {VOC_CLASSES[c] for c in np.flatnonzero(row)}


def annotate(path: Path, *names: str, mtime_ns: int | None = None) -> None:
    write_annotation(path, names)
    if mtime_ns is not None:
        os.utime(path, ns=(mtime_ns, mtime_ns))


def test_labels_are_the_objects_of_the_annotations(toy_voc):
    labels = VocLayout(toy_voc).labels(IDS)
    assert (labels.shape, labels.dtype) == ((6, 20), bool)
    assert [names_of(row) for row in labels] == [set(objects) for objects in OBJECTS]


def test_labels_follow_the_order_of_the_ids(toy_voc):
    layout = VocLayout(toy_voc)
    np.testing.assert_array_equal(layout.labels([IDS[3], IDS[0]]), layout.labels(IDS)[[3, 0]])


def test_labels_from_the_cache_are_the_same(toy_voc):
    layout = VocLayout(toy_voc)
    np.testing.assert_array_equal(layout.labels(IDS), layout.labels(IDS))


def test_labels_are_of_the_classes_of_the_data_set(toy_voc):
    (toy_voc / "classes.txt").write_text("sofa\ncat\ndog\n")
    assert VocLayout(toy_voc).labels(IDS[:2]).tolist() == [[False, True, False], [True, False, True]]


def test_changed_classes_apply_to_cached_annotations(toy_voc):
    VocLayout(toy_voc).labels(IDS[:1])
    (toy_voc / "classes.txt").write_text("dog\ncat\n")
    assert VocLayout(toy_voc).labels(IDS[:1]).tolist() == [[False, True]]


def test_an_image_without_objects_has_no_label(toy_voc):
    annotate(toy_voc / "Annotations" / "empty.xml")
    assert not VocLayout(toy_voc).labels(["empty"]).any()


def test_the_cache_follows_the_environment(private_cache):
    assert cache_folder() == private_cache / "dig"


def test_the_cache_is_in_the_home_folder_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "dig"


def test_an_empty_environment_variable_is_the_default(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "dig"


def test_an_annotation_of_the_same_size_and_time_is_not_read_again(toy_voc):
    path = toy_voc / "Annotations" / "a.xml"
    annotate(path, "cat", mtime_ns=10**18)
    VocLayout(toy_voc).labels(["a"])
    annotate(path, "dog", mtime_ns=10**18)
    assert names_of(VocLayout(toy_voc).labels(["a"])[0]) == {"cat"}


def test_an_annotation_of_another_time_is_read_again(toy_voc):
    path = toy_voc / "Annotations" / "a.xml"
    annotate(path, "cat", mtime_ns=10**18)
    VocLayout(toy_voc).labels(["a"])
    annotate(path, "dog", mtime_ns=10**18 + 1)
    assert names_of(VocLayout(toy_voc).labels(["a"])[0]) == {"dog"}


def test_an_annotation_of_another_size_is_read_again(toy_voc):
    path = toy_voc / "Annotations" / "a.xml"
    annotate(path, "cat", mtime_ns=10**18)
    VocLayout(toy_voc).labels(["a"])
    annotate(path, "cat", "dog", mtime_ns=10**18)
    assert names_of(VocLayout(toy_voc).labels(["a"])[0]) == {"cat", "dog"}


def test_a_changed_annotation_is_cached_anew(toy_voc):
    path = toy_voc / "Annotations" / "a.xml"
    for number, name in enumerate(("cat", "dog", "cow")):
        annotate(path, name, mtime_ns=10**18 + min(number, 1))
        labels = VocLayout(toy_voc).labels(["a"])
    assert names_of(labels[0]) == {"dog"}


def test_other_images_stay_in_the_cache(toy_voc):
    layout = VocLayout(toy_voc)
    for name in ("a", "b"):
        annotate(toy_voc / "Annotations" / f"{name}.xml", "cat", mtime_ns=10**18)
        layout.labels([name])
    annotate(toy_voc / "Annotations" / "a.xml", "dog", mtime_ns=10**18)
    assert names_of(layout.labels(["a"])[0]) == {"cat"}


def test_data_sets_do_not_share_a_cache(toy_voc, tmp_path):
    other = tmp_path / "other"
    (other / "JPEGImages").mkdir(parents=True)
    (other / "Annotations").mkdir()
    for root, name in ((toy_voc, "cat"), (other, "dog")):
        annotate(root / "Annotations" / "a.xml", name, mtime_ns=10**18)
    assert [names_of(VocLayout(root).labels(["a"])[0]) for root in (toy_voc, other)] == [{"cat"}, {"dog"}]


def test_a_data_set_reached_through_a_link_shares_its_cache(toy_voc, tmp_path):
    (tmp_path / "link").symlink_to(toy_voc)
    VocLayout(toy_voc).labels(IDS)
    VocLayout(tmp_path / "link").labels(IDS)
    assert len(list(cache_folder().iterdir())) == 1


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "null", "\x00\x01"])
def test_a_damaged_cache_is_replaced(toy_voc, content):
    layout = VocLayout(toy_voc)
    expected = layout.labels(IDS)
    (cache,) = cache_folder().iterdir()
    good = cache.read_text()
    cache.write_text(content)
    np.testing.assert_array_equal(layout.labels(IDS), expected)
    assert cache.read_text() == good


def test_a_cache_that_cannot_be_written_is_done_without(toy_voc, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert names_of(VocLayout(toy_voc).labels(IDS)[0]) == {"cat"}


def test_a_missing_annotation_is_named(toy_voc):
    with pytest.raises(InputError, match=r"Annotations/gone\.xml is missing: it holds the labels of gone"):
        VocLayout(toy_voc).labels(["gone"])


def test_an_annotation_that_has_gone_since_is_named(toy_voc):
    VocLayout(toy_voc).labels(IDS)
    (toy_voc / "Annotations" / f"{IDS[2]}.xml").unlink()
    with pytest.raises(InputError, match=rf"{IDS[2]}\.xml is missing"):
        VocLayout(toy_voc).labels(IDS)


def test_an_object_that_is_no_class_is_named(toy_voc):
    annotate(toy_voc / "Annotations" / "a.xml", "cat", "unicorn")
    with pytest.raises(InputError, match=r"a\.xml names 'unicorn', which is none of the 20 classes"):
        VocLayout(toy_voc).labels(["a"])


def test_objects_are_named_once_each(tmp_path):
    annotate(tmp_path / "a.xml", "person", "cat", "person")
    assert object_names(tmp_path / "a.xml") == ["cat", "person"]


def test_difficult_objects_count(tmp_path):
    (tmp_path / "a.xml").write_text("<annotation><object><name>cat</name><difficult>1</difficult></object></annotation>")
    assert object_names(tmp_path / "a.xml") == ["cat"]


def test_parts_of_objects_are_no_objects(tmp_path):
    text = "<annotation><object><part><name>head</name></part><name> person\n</name></object></annotation>"
    (tmp_path / "a.xml").write_text(text)
    assert object_names(tmp_path / "a.xml") == ["person"]


def test_an_object_without_a_name_is_refused(toy_voc):
    (toy_voc / "Annotations" / "a.xml").write_text("<annotation><object/></annotation>")
    with pytest.raises(InputError, match=r"a\.xml names ''"):
        VocLayout(toy_voc).labels(["a"])


@pytest.mark.parametrize("text", ["", "no xml", "<annotation><object>", "<annotation></object>"])
def test_a_broken_annotation_is_refused_by_name(tmp_path, text):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(InputError, match=r"a\.xml is no XML"):
        object_names(tmp_path / "a.xml")


@pytest.mark.parametrize(
    "declaration",
    ['<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/hostname">]>', '<!DOCTYPE a SYSTEM "a.dtd">', "<!ENTITY e 'cat'>"],
)
def test_an_annotation_that_declares_entities_is_refused(tmp_path, declaration):
    (tmp_path / "a.xml").write_text(f"{declaration}<annotation><object><name>&e;</name></object></annotation>")
    with pytest.raises(InputError, match=r"a\.xml declares a document type or entities"):
        object_names(tmp_path / "a.xml")


@pytest.mark.parametrize("encoding", ["foo", "utf-7"])
def test_an_annotation_in_an_unknown_encoding_is_refused_by_name(tmp_path, encoding):
    (tmp_path / "a.xml").write_text(f'<?xml version="1.0" encoding="{encoding}"?><annotation/>')
    with pytest.raises(InputError, match=r"a\.xml is no XML"):
        object_names(tmp_path / "a.xml")


def test_entities_are_refused_in_utf_16_too(tmp_path):
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>'
    (tmp_path / "a.xml").write_bytes(text.encode("utf-16"))
    with pytest.raises(InputError, match=r"a\.xml"):
        object_names(tmp_path / "a.xml")


@pytest.mark.parametrize("entries", ['{"a": 5}', '{"a": [1, 2, 3]}', '{"a": [[1, 2], 7]}', "[]"])
def test_a_cache_of_another_shape_counts_as_empty(tmp_path, entries):
    (tmp_path / "cache.json").write_text(entries)
    assert read_cache(tmp_path / "cache.json") == {}
