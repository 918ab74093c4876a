"""Lists of image ids: what is read, what is refused, and draws that never change."""

import hashlib

import pytest

from datasets.lists import draw, find_list, read_ids, require_distinct, split_count
from tests.helpers.toy_data import write_lines
from utils.errors import InputError

NUMBERS = [str(i) for i in range(100)]


def test_a_list_may_be_a_name_in_the_data_set(toy_voc):
    assert find_list(toy_voc, "val") == toy_voc / "ImageSets" / "Segmentation" / "val.txt"


def test_a_list_may_be_a_file_name_in_the_data_set(toy_voc):
    assert find_list(toy_voc, "val.txt") == toy_voc / "ImageSets" / "Segmentation" / "val.txt"


def test_lists_of_voc_hold_an_id_per_line(tmp_path):
    assert read_ids(write_lines(tmp_path / "a.txt", "2007_000033", "2007_000032")) == ["2007_000033", "2007_000032"]


def test_lists_of_sbd_hold_paths_of_image_and_mask(tmp_path):
    path = write_lines(
        tmp_path / "a.txt",
        "/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png",
        "/JPEGImages/2011_003271.jpg /SegmentationClassAug/2011_003271.png",
    )
    assert read_ids(path) == ["2007_000032", "2011_003271"]


def test_lists_may_hold_file_names(tmp_path):
    assert read_ids(write_lines(tmp_path / "a.txt", "2007_000032.jpg", "2007_000033.jpg")) == ["2007_000032", "2007_000033"]


def test_only_the_first_column_of_a_list_counts(tmp_path):
    assert read_ids(write_lines(tmp_path / "a.txt", "2007_000032  1", "2007_000033 -1")) == ["2007_000032", "2007_000033"]


def test_dots_in_an_id_of_a_list_are_part_of_it(tmp_path):
    assert read_ids(write_lines(tmp_path / "a.txt", "photo.v2")) == ["photo.v2"]


def test_blank_lines_and_windows_line_ends_do_not_count(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\r\na\r\n\r\n  b  \r\n")
    assert read_ids(tmp_path / "a.txt") == ["a", "b"]


def test_an_empty_list_is_refused_by_file(tmp_path):
    with pytest.raises(InputError, match=r"a\.txt names no image"):
        read_ids(write_lines(tmp_path / "a.txt", "", "  "))


def test_an_image_named_twice_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"a\.txt names c twice"):
        read_ids(write_lines(tmp_path / "a.txt", "b", "c", "/x/c.jpg", "b"))


@pytest.mark.parametrize("line", ["..", ".", "..\\secret", "/JPEGImages/.."])
def test_a_line_that_would_leave_the_data_set_is_refused(tmp_path, line):
    with pytest.raises(InputError, match=r"a\.txt: .* is no image id"):
        read_ids(write_lines(tmp_path / "a.txt", line))


def test_ids_never_contain_a_folder(tmp_path):
    assert read_ids(write_lines(tmp_path / "a.txt", "../../etc/passwd")) == ["passwd"]


def test_a_byte_order_mark_is_no_part_of_an_id(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf2007_000001\n2007_000002\n")
    assert read_ids(tmp_path / "list.txt") == ["2007_000001", "2007_000002"]


def test_a_list_that_is_no_text_is_refused_by_name(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match=r"list\.txt is no UTF-8 text"):
        read_ids(tmp_path / "list.txt")


def test_a_list_name_may_have_a_dot(tmp_path):
    assert find_list(tmp_path, "train_v1.5").name == "train_v1.5.txt"


def test_a_missing_list_of_ids_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.txt is missing: name another list, or a file with one image id per line"):
        read_ids(tmp_path / "gone.txt")


def test_a_file_goes_before_a_list_of_the_data_set(toy_voc, tmp_path, monkeypatch):
    write_lines(tmp_path / "val", "2007_000000")
    monkeypatch.chdir(tmp_path)
    assert read_ids(find_list(toy_voc, "val")) == ["2007_000000"]


def test_ids_that_differ_in_case_alone_are_distinct(tmp_path):
    ids = ["a", "A", "a1", "1"]
    assert read_ids(write_lines(tmp_path / "a.txt", *ids)) == ids


def test_the_first_id_that_repeats_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a\.txt names b twice"):
        require_distinct(["a", "b", "c", "b", "a"], tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("train:5200", ("train", 5200)),
        ("train", ("train", None)),
        ("train:", ("train:", None)),
        ("train:few", ("train:few", None)),
        ("train:-1", ("train:-1", None)),
        ("train:²", ("train:²", None)),
        ("lists/a.txt:7", ("lists/a.txt", 7)),
        ("C:/a:7", ("C:/a", 7)),
    ],
)
def test_a_number_after_a_colon_is_a_count(name, parts):
    assert split_count(name) == parts


def test_a_colon_in_the_name_of_a_file_is_part_of_it(tmp_path):
    path = str(write_lines(tmp_path / "run:12", "a"))
    assert split_count(path) == (path, None)


def test_a_draw_of_no_image_is_refused():
    with pytest.raises(InputError, match="train:0 draws no image"):
        split_count("train:0")


def test_a_draw_is_the_same_on_every_machine():
    assert draw(NUMBERS, 5) == ["39", "49", "51", "55", "65"]


def test_a_draw_is_of_the_smallest_hashes():
    drawn = draw(NUMBERS, 30)
    left = [i for i in NUMBERS if i not in drawn]
    assert max(hashlib.sha256(i.encode()).hexdigest() for i in drawn) < min(
        hashlib.sha256(i.encode()).hexdigest() for i in left
    )


def test_a_draw_has_as_many_as_asked_for():
    assert [len(draw(NUMBERS, count)) for count in (1, 17, 99, 100)] == [1, 17, 99, 100]


def test_a_draw_is_in_the_order_of_the_list():
    backwards = NUMBERS[::-1]
    assert draw(backwards, 10) == draw(NUMBERS, 10)[::-1]


def test_a_draw_contains_every_smaller_one():
    assert set(draw(NUMBERS, 10)) < set(draw(NUMBERS, 11))


@pytest.mark.parametrize("count", [None, 100, 101])
def test_a_draw_of_no_fewer_is_the_whole_list(count):
    assert draw(NUMBERS[::-1], count) == NUMBERS[::-1]
