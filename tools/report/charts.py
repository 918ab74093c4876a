"""Charts as inline SVG, drawn for the width of a phone: larger screens show several side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .markup import Element, tag

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 28, 40
NAME_WIDTH, BAR_TOP, ROW = 124, 4, 20
LONGEST_NAME = 18
DOTS_UP_TO = 30

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Mark:
    """A labelled point of a line."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Axis:
    """An axis of a chart.

    Args:
        label: what it measures.
        ticks: ascending; the axis reaches from the first to the last.
        start, end: coordinates of those two in the picture.
    """

    label: str
    ticks: tuple[float, ...]
    start: float
    end: float

    def place(self, value: float) -> float:
        """Coordinate of a value in the picture, rounded to a tenth."""
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return round(self.start + share * (self.end - self.start), 1)


def nice_ticks(low: float, high: float, whole: bool = False) -> tuple[float, ...]:
    """Two to eight round numbers, the first not above `low` and the last not below `high`; at least two.

    Args:
        low, high: what they must enclose.
        whole: integers only.
    """
    wish = ((high - low) or max(abs(high), 1)) / 5
    power = 10.0 ** math.floor(math.log10(wish))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= wish * (1 - 1e-9))
    step = max(1, round(step)) if whole else step
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return tuple(round(i * step, 12) for i in range(first, last + 1))


def line_chart(
    key: str, title: str, description: str, points: Points, x: Axis, y: Axis, marks: Sequence[Mark] = ()
) -> Element:
    """A line through points.

    Args:
        key: makes the ids of the chart unique in the page.
        title, description: what it shows, and the result in words.
        points: at least one, in ascending x.
        x, y: from `x_axis` and `y_axis`.
        marks: points with a text beside them.
    """
    steps = " ".join(f"{x.place(a)},{y.place(b)}" for a, b in points)
    parts = [*grid(x, y), tag("polyline", points=steps, class_="line")]
    if len(points) <= DOTS_UP_TO:
        parts += [
            tag("circle", tag("title", f"{a:g}: {b:.4g}"), cx=x.place(a), cy=y.place(b), r=2.5, class_="dot")
            for a, b in points
        ]
    for mark in marks:
        parts += draw_mark(mark, x, y)
    return picture(key, title, description, HEIGHT, parts)


def x_axis(label: str, ticks: tuple[float, ...]) -> Axis:
    """The horizontal axis of a line chart."""
    return Axis(label, ticks, LEFT, WIDTH - RIGHT)


def y_axis(label: str, ticks: tuple[float, ...]) -> Axis:
    """The vertical axis of a line chart; its start is at the bottom."""
    return Axis(label, ticks, HEIGHT - BOTTOM, TOP)


def grid(x: Axis, y: Axis) -> list[Element]:
    """Lines, numbers and labels of both axes."""
    parts = []
    for tick in y.ticks:
        place = y.place(tick)
        parts.append(tag("line", x1=x.start, x2=x.end, y1=place, y2=place, class_="grid"))
        parts.append(tag("text", f"{tick:g}", x=x.start - 6, y=place + 4, text_anchor="end"))
    for tick in x.ticks:
        place = x.place(tick)
        parts.append(tag("line", x1=place, x2=place, y1=y.start, y2=y.start + 4, class_="axis"))
        parts.append(tag("text", f"{tick:g}", x=place, y=y.start + 16, text_anchor="middle"))
    parts.append(tag("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis"))
    middle = (x.start + x.end) / 2
    parts.append(tag("text", x.label, x=middle, y=y.start + 34, text_anchor="middle", class_="label"))
    parts.append(tag("text", y.label, x=4, y=12, class_="label"))
    return parts


def draw_mark(mark: Mark, x: Axis, y: Axis) -> list[Element]:
    """A larger point and its text, on the side where there is room."""
    across, down = x.place(mark.x), y.place(mark.y)
    share = (across - x.start) / (x.end - x.start)
    anchor = "start" if share < 0.25 else "end" if share > 0.75 else "middle"
    above = down - 10 > y.end + 8
    text = tag("text", mark.text, x=across, y=down - 9 if above else down + 19, text_anchor=anchor, class_="mark")
    return [tag("circle", cx=across, cy=down, r=4.5, class_="point"), text]


def bar_chart(key: str, title: str, description: str, rows: Sequence[tuple[str, float, str]], label: str) -> Element:
    """A horizontal bar per row, from 0 to 100.

    Args:
        key, title, description: as in `line_chart`.
        rows: name, percentage, and a note, which may be empty.
        label: label of the axis.
    """
    x = Axis(label, (0, 25, 50, 75, 100), NAME_WIDTH, WIDTH - 36)
    bottom = BAR_TOP + ROW * len(rows)
    parts = []
    for tick in x.ticks:
        place = x.place(tick)
        parts.append(tag("line", x1=place, x2=place, y1=BAR_TOP, y2=bottom, class_="grid" if tick else "axis"))
        parts.append(tag("text", f"{tick:g}", x=place, y=bottom + 15, text_anchor="middle"))
    for i, (name, value, note) in enumerate(rows):
        top, end = BAR_TOP + ROW * i, x.place(value)
        short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
        hint = tag("title", f"{name}: {value:.2f} %{f', {note}' if note else ''}")
        parts += [
            tag("text", short, x=x.start - 6, y=top + 14, text_anchor="end"),
            tag("rect", hint, x=x.start, y=top + 3, width=round(end - x.start, 1), height=ROW - 6, class_="bar"),
            tag("text", note or f"{value:.1f}", x=end + 5, y=top + 14, class_="note" if note else "value"),
        ]
    middle = (x.start + x.end) / 2
    parts.append(tag("text", label, x=middle, y=bottom + 33, text_anchor="middle", class_="label"))
    return picture(key, title, description, bottom + BOTTOM, parts)


def picture(key: str, title: str, description: str, height: float, parts: Sequence[Element]) -> Element:
    """An SVG with a title and a description for screen readers."""
    names = (tag("title", title, id=f"{key}-title"), tag("desc", description, id=f"{key}-desc"))
    labelled = {"role": "img", "aria_labelledby": f"{key}-title", "aria_describedby": f"{key}-desc"}
    return tag("svg", *names, *parts, viewBox=f"0 0 {WIDTH} {height}", class_="chart", **labelled)
