"""Pictures in a table: where things go, and that words fit."""

import numpy as np
import pytest

from utils.picture_table import GAP, PAPER, Cell, Entry, Group, picture_table, shortened, text_width

RED = (250, 0, 0)


def plain(height: int, width: int, color: tuple[int, int, int] = RED) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


def box(table: np.ndarray, color: tuple[int, int, int] = RED) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what has a colour."""
    rows, columns = np.nonzero((table == color).all(2))
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


@pytest.mark.parametrize("shape", [(40, 80), (20, 40), (160, 80)])
def test_the_longer_side_of_every_picture_is_as_asked(shape):
    top, bottom, left, right = box(picture_table([Group([[Cell(plain(*shape))]])], 80))
    assert max(bottom - top, right - left) == 80
    assert (bottom - top) * shape[1] == (right - left) * shape[0]


def test_columns_stand_below_each_other_though_pictures_are_narrow():
    rows = [[Cell(plain(80, 30, (9, 9, 9))), Cell(plain(80, 30))], [Cell(plain(80, 80, (9, 9, 9))), Cell(plain(80, 80))]]
    left = [box(picture_table([Group([row])], 80))[2] for row in rows]
    assert left == [2 * GAP + 80] * 2


def test_an_empty_place_stays_paper():
    table = picture_table([Group([[Cell(), Cell(plain(80, 80))]])], 80)
    assert (table[:, : GAP + 80] == PAPER).all()


@pytest.mark.parametrize(
    "words",
    [
        {"title": "title"},
        {"title": "title", "note": "note"},
        {"headings": ["image", "mask"]},
        {"headings": ["image\nof a dog"]},
        {"legend": [Entry("dog", (0, 0, 0))]},
    ],
)
def test_words_take_room_and_move_no_picture_sideways(words):
    bare = picture_table([Group([[Cell(plain(80, 80)), Cell()]])], 80)
    table = picture_table([Group([[Cell(plain(80, 80)), Cell()]])], 80, **words)
    assert len(table) > len(bare)
    assert box(table)[2:] == box(bare)[2:]
    assert (table != PAPER).any(2).sum() > 80 * 80


def test_a_caption_is_right_below_its_own_picture():
    table = picture_table([Group([[Cell(plain(40, 80), "low"), Cell(plain(80, 40, (0, 0, 250)), "high")]])], 80)
    bottom = box(table)[1]
    below = table[bottom : bottom + 12, GAP : GAP + 80]
    assert (below != PAPER).any()


def test_the_legend_has_every_colour_and_breaks_its_lines():
    entries = [Entry(f"class {i}", (i, 2, 3)) for i in range(20)]
    table = picture_table([Group([[Cell(plain(80, 80))]])], 80, legend=entries)
    assert all((table == entry.color).all(2).any() for entry in entries)
    assert table.shape[1] == 80 + 2 * GAP


@pytest.mark.parametrize("text", ["a name that is far too long for its picture", "Größe und Länge der Gänseblümchen"])
def test_long_words_are_cut_off(text):
    short = shortened(text, 80, 10)
    assert short.endswith("…")
    assert text_width(short, 10) <= 80


def test_short_words_stay():
    assert shortened("dog", 80, 10) == "dog"


def test_names_in_other_scripts_can_be_drawn():
    table = picture_table([Group([[Cell(plain(80, 80), "狗 é")]], "Größe")], 80)
    assert (table[-12:] != PAPER).any()
