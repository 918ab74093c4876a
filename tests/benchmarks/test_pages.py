"""Tables in pages."""

import pytest

from benchmarks.pages import write_between
from utils.errors import InputError


def test_what_stands_between_the_comments_is_replaced_and_the_rest_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- end -->\nafter\n<!-- b -->\nothers\n<!-- end -->\n")
    for _ in range(2):
        write_between(page, "<!-- a -->", "<!-- end -->", "new\n")
    assert page.read_text() == ("before\n<!-- a -->\n\nnew\n\n<!-- end -->\nafter\n<!-- b -->\nothers\n<!-- end -->\n")


def test_a_page_without_the_comment_is_refused_and_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- b -->\n<!-- end -->\n")
    with pytest.raises(InputError, match=r"page\.md has no place for a table: <!-- c --> is missing"):
        write_between(page, "<!-- c -->", "<!-- end -->", "third")
    assert page.read_text() == "<!-- b -->\n<!-- end -->\n"
