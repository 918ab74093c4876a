"""HTML as a tree of elements. Text never becomes markup: writing the tree escapes it."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

Element = ElementTree.Element
Content = Element | str

ASSETS = Path(__file__).parent
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What a browser may load for the page: only what is in the file."""


def tag(name: str, /, *content: Content, **attributes: str | float) -> Element:
    """An element.

    Args:
        name: name of the element.
        content: text and elements, in order.
        attributes: `class_` stands for `class`, and underscores for hyphens.
    """
    element = Element(name, {key.rstrip("_").replace("_", "-"): str(value) for key, value in attributes.items()})
    for part in content:
        if isinstance(part, Element):
            element.append(part)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + part
        else:
            element.text = (element.text or "") + part
    return element


def table(head: tuple[str, ...], rows: Sequence[Sequence[Content]]) -> Element:
    """A table whose first column names its rows; wide ones scroll inside the page."""
    lines = [tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest)) for first, *rest in rows]
    header = tag("thead", tag("tr", *(tag("th", text, scope="col") for text in head)))
    return tag("div", tag("table", header, tag("tbody", *lines)), class_="scroll", tabindex=0)


def document(title: str, *content: Content) -> bytes:
    """A whole page in UTF-8, its style and script inside it."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", (ASSETS / "page.css").read_text(encoding="utf-8")),
    )
    script = tag("script", (ASSETS / "page.js").read_text(encoding="utf-8"))
    page = tag("html", head, tag("body", *content, script), lang="en")
    text = "<!DOCTYPE html>\n" + ElementTree.tostring(page, encoding="unicode", method="html") + "\n"
    return text.encode(errors="replace")
