"""Tables in pages."""

from benchmarks.pages import write_between


def test_what_stands_between_the_comments_is_replaced_and_the_rest_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- end -->\nafter\n<!-- b -->\nothers\n<!-- end -->\n")
    for _ in range(2):
        write_between(page, "<!-- a -->", "<!-- end -->", "new\n")
    assert page.read_text() == ("before\n<!-- a -->\n\nnew\n\n<!-- end -->\nafter\n<!-- b -->\nothers\n<!-- end -->\n")
