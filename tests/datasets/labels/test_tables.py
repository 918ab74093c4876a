"""Tables of labels in the forms that spreadsheets and programs write: read as what they are, or refused with the reason."""

from pathlib import Path

import pytest

from datasets.layouts.folder import FolderLayout
from tests.helpers.toy_data import write_lines
from utils.errors import InputError

IMAGES = ("0.jpg", "1.jpg", "2.jpg")


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with files that are images by their names."""
    for name in IMAGES:
        (tmp_path / name).touch()
    return tmp_path


def read(root: Path, text: str, encoding: str = "utf-8", classes: tuple[str, ...] = ()) -> dict[str, set[str]]:
    """What a table says of each image."""
    (root / "labels.csv").write_bytes(text.encode(encoding))
    if classes:
        write_lines(root / "classes.txt", *classes)
    layout = FolderLayout(root)
    ids = list(layout.images)
    return {i: {layout.classes[c] for c in row.nonzero()[0]} for i, row in zip(ids, layout.labels(ids), strict=True)}


def refusal(root: Path, text: str, encoding: str = "utf-8", classes: tuple[str, ...] = ()) -> str:
    with pytest.raises(InputError) as caught:
        read(root, text, encoding, classes)
    return str(caught.value).replace(f"{root}/", "")


@pytest.mark.parametrize(
    ("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("TRUE", "FALSE"), ("WAHR", "FALSCH"), ("yes", "no"), ("x", ""), ("1", "")]
)
def test_a_column_of_yes_and_no_is_a_class(root, yes, no):
    table = f"image,cat,dog,cow\n0.jpg,{yes},{no},{no}\n1.jpg,{yes},{yes},{no}\n2.jpg,{no},{no},{no}\n"
    assert read(root, table) == {"0": {"cat"}, "1": {"cat", "dog"}, "2": set()}
    layout = FolderLayout(root)
    assert layout.classes == ("cat", "cow", "dog")
    assert layout.labelling.notes == (f"{root}/labels.csv: a column of yes and no for each of 3 classes",)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("1,0\n1.jpg,,1", "line 3 has an empty cell where other lines have 1, 0: write 1 and 0 everywhere"),
        ("1,0\n1.jpg,true,0", "line 2 has '0' where other lines have 1, true: write 1 and 0 everywhere"),
        ("1,0\n1.jpg,-1,1", "line 3: '-1' in column 'cat' is neither yes nor no"),
        ("2,0\n1.jpg,1,1", "line 2: '2' in column 'cat' is neither yes nor no"),
        ("1,0\n1.jpg,1", "line 3 has 2 columns, line 1 names 3"),
        ("1,0,1\n1.jpg,1,0", "line 2: column 4 holds '1' and has no name in line 1"),
        ("0,0\n1.jpg,0,0", "says of no image that anything is in it"),
    ],
)
def test_cells_that_do_not_surely_say_yes_or_no_are_refused(root, cells, reason):
    assert reason in refusal(root, f"image,cat,dog\n0.jpg,{cells}\n")


def test_a_class_with_two_columns_is_refused(root):
    assert refusal(root, "image,cat,cat\n0.jpg,1,0\n") == "labels.csv line 1 names 'cat' twice"


@pytest.mark.parametrize("table", ["0.jpg,1,0\n1.jpg,0,1\n", "image,label\n0.jpg,1\n1.jpg,0\n", "0.jpg,true\n1.jpg,false\n"])
@pytest.mark.parametrize("classes", [(), ("cat", "dog")])
def test_yes_and_no_without_names_of_classes_are_refused(root, table, classes):
    assert "where labels are expected: if they say whether a class is there, name" in refusal(root, table, classes=classes)


@pytest.mark.parametrize("table", ["0.jpg,3\n1.jpg,4\n", "image,label\n0.jpg,dog\n1.jpg,3\n", "1.jpg,dog,3\n"])
def test_numbers_are_names_only_where_a_list_says_so(root, table):
    assert "has the label '3', a number: write names, or list the numbers in classes.txt" in refusal(root, table)
    assert "3" in set.union(*read(root, table, classes=("3", "4", "dog")).values())


@pytest.mark.parametrize("header", ["image,label\n", "filename,class\n", ""])
def test_lines_with_one_label_each_add_up(root, header):
    table = f"{header}0.jpg,cat\n0,dog\n0.jpg,dog\n1.jpg,cat\n"
    assert read(root, table) == {"0": {"cat", "dog"}, "1": {"cat"}}
    assert FolderLayout(root).labelling.notes == (f"{root}/labels.csv: 2 lines name an image again, and add to its labels",)


def test_a_line_that_says_nothing_is_in_an_image_of_another_line_is_refused(root):
    assert "line 3 names '0' again, after" in refusal(root, "image,label\n0.jpg,cat\n0.jpg,\n")


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs")])
@pytest.mark.parametrize("header", [("image", "label"), ()])
def test_columns_may_be_separated_otherwise(root, separator, name, header):
    lines = [header] * bool(header) + [("0.jpg", "cat", "dog"), ("1.jpg", "dog")]
    table = "".join(f"{separator.join(cells)}\n" for cells in lines)
    assert read(root, table) == {"0": {"cat", "dog"}, "1": {"dog"}}
    assert FolderLayout(root).labelling.notes == (f"{root}/labels.csv: columns between {name}",)


def test_the_line_that_excel_reads_the_separator_from_is_no_image(root):
    assert read(root, "sep=;\n0.jpg;dog\n") == {"0": {"dog"}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_says_the_encoding(root, encoding):
    assert read(root, "image;label\n0.jpg;Käse\n", encoding) == {"0": {"Käse"}}


@pytest.mark.parametrize(
    ("encoding", "reason"),
    [("utf-16-le", "it has zero bytes, as UTF-16 has"), ("cp1252", "save it as UTF-8 (in Excel: CSV")],
)
def test_text_of_an_unknown_encoding_is_refused(root, encoding, reason):
    assert reason in refusal(root, "image;label\n0.jpg;Käse\n", encoding)


@pytest.mark.parametrize(
    "image", ["image", "filename", "file", "File Name", "image_id", "path", "IMAGE-PATH", "id", "photo"]
)
@pytest.mark.parametrize("label", ["label", "labels", "Tags", "class", "category"])
def test_headers_of_this_field_are_known(root, image, label):
    assert read(root, f"{image},{label}\n0.jpg,cat\n") == {"0": {"cat"}}


def test_the_column_of_the_images_need_not_be_the_first(root):
    assert read(root, "label;file\ncat;0.jpg\ndog;1.jpg\n") == {"0": {"cat"}, "1": {"dog"}}


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("bild,cat,dog\n0.jpg,1,0\n", "line 1 names 'bild', and there is no such image; if the line is a header, call"),
        ("filename,class,xmin,ymin\n0.jpg,cat,1,2\n", "line 1 has columns of labels and also 'xmin', 'ymin': remove"),
        ("image,split\n0.jpg,train\n", "line 2: 'train' in column 'split' is neither yes nor no"),
        (",image,label\n0,0.jpg,cat\n", "the first column has no name in line 1: remove it (in pandas: index=False)"),
        ('0.jpg,"dog\n1.jpg,cat\n', "is no table of labels: line 2: unexpected end of data"),
        ("image,label\n0.jpg,nan\n", "line 2 has the label 'nan': leave the cell empty"),
    ],
)
def test_what_is_not_certain_is_refused_with_the_reason(root, table, reason):
    assert reason in refusal(root, table)


@pytest.mark.parametrize("cell", ["dog;person", "dog|person", "dog | person"])
def test_several_labels_in_a_cell_are_several(root, cell):
    assert read(root, f"0.jpg,{cell}\n1.jpg,dog\n") == {"0": {"dog", "person"}, "1": {"dog"}}
    assert "cells with several labels, as in line 1, split at" in FolderLayout(root).labelling.notes[0]


@pytest.mark.parametrize("table", ['0.jpg,"dog,person"\n', "image;tags\n0.jpg;dog,person\n"])
def test_a_comma_within_a_cell_needs_a_list_of_classes(root, table):
    assert "has 'dog,person' in one cell: give each label a cell of its own; if this is one, list it" in refusal(root, table)
    assert read(root, table, classes=("dog,person",)) == {"0": {"dog,person"}}
    assert read(root, table, classes=("dog", "person")) == {"0": {"dog", "person"}}


def test_labels_that_differ_in_capitals_are_refused_with_both_lines(root):
    message = refusal(root, "image,label\n0.jpg,Dog\n1.jpg,dog\n")
    assert message == "labels.csv line 3 says 'dog' and labels.csv line 2 'Dog': spell a class in one way"


def test_a_label_that_is_nearly_a_class_is_told_which(root):
    assert refusal(root, "0.jpg,Dog\n", classes=("dog", "cat")).endswith("(did you mean 'dog'?)")


@pytest.mark.parametrize(("one", "other"), [("caf\u00e9", "cafe\u0301"), ("dog ", " dog"), ("hot  dog", "hot dog")])
def test_labels_that_differ_in_blanks_or_the_form_of_accents_are_one_class_and_that_is_said(root, one, other):
    assert len(set.union(*read(root, f"image,label\n0.jpg,{one}\n1.jpg,{other}\n").values())) == 1
    (note,) = FolderLayout(root).labelling.notes
    assert note.startswith("spellings that differ in blanks or the form of accents are one class: ")


@pytest.mark.parametrize("name", ["background", "_background_", "__background__", "Background", "bg", "__ignore__", "void"])
def test_the_background_is_no_class(root, name):
    assert f"labels.csv line 2: '{name}' is no class: masks have" in refusal(root, f"0.jpg,dog\n1.jpg,{name}\n")
    message = refusal(root, "0.jpg,dog\n", classes=(name, "dog"))
    assert message.startswith(f"classes.txt line 1: '{name}' is no class: masks have")


def test_an_image_is_found_whatever_form_its_accents_have(root):
    (root / "cafe\u0301.jpg").touch()  # as macOS names it
    assert read(root, "caf\u00e9.jpg,dog\n") == {"caf\u00e9": {"dog"}}


def test_ones_and_zeros_without_a_header_are_no_classes_even_if_classes_are_numbers(root):
    text = refusal(root, "0.jpg,1,0,0\n1.jpg,0,1,0\n2.jpg,0,0,1\n", classes=("0", "1", "2"))
    assert text.startswith("labels.csv line 1 has 0 or 1 more than once")
