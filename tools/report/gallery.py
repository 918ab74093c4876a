"""Pictures of single images in a page: the image, its true mask, the CAM of every class, and the masks."""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from utils.picture_table import fitted

from .markup import Element, tag
from .views import SIDE, Label, Panel, View

SIDES = (SIDE, 224, 160, 112)
"""Longer sides of a picture in pixels, tried in this order."""
BYTES = 2_000_000
"""Most bytes of all pictures together; base64 adds a third."""

GROUPS = {
    "worst": ("Worst", "what goes wrong when it goes wrong most"),
    "median": ("Typical", "half of the images score better, half worse"),
    "best": ("Best", "what the method can do"),
    "unscored": ("Some images", "evenly spaced in the list: without scores nothing tells good from bad"),
}

Groups = Mapping[str, Sequence[View]]
"""Images by the name of their group: see `GROUPS`."""


def build_gallery(groups: Groups) -> list[Element]:
    """All images, in the largest pictures of `SIDES` that fit into `BYTES`."""
    for side in SIDES:
        parts, size = [], 0
        for name, views in groups.items():
            heading, meaning = GROUPS[name]
            parts.append(tag("h3", heading, tag("small", f" {meaning}")))
            for view in views:
                pictures = [(panel, jpeg(fitted(picture, side))) for panel, picture in panels_of(view)]
                size += sum(len(data) for _, data in pictures)
                parts.append(sample_figure(view, pictures))
        if size <= BYTES:
            break
    return parts


def panels_of(view: View) -> list[tuple[Panel, np.ndarray]]:
    """The panels of an image that have a picture, in the order in which they are shown."""
    panels = [view.image, *([view.truth] if view.truth else []), *view.cams, *view.masks]
    return [(panel, panel.picture) for panel in panels if panel.picture is not None]


def jpeg(picture: np.ndarray, quality: int = 80) -> bytes:
    """The bytes of (H, W, 3) uint8 as a JPEG that keeps the edges of colours."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "jpeg", quality=quality, subsampling=0, optimize=True)
    return file.getvalue()


def sample_figure(view: View, pictures: Sequence[tuple[Panel, bytes]]) -> Element:
    """One image with its pictures, scores and colours; the arrow keys go from one to the next."""
    figures = [
        tag(
            "figure",
            tag("img", src=data_address(data, "jpeg"), alt=f"{words(panel, view)} of {view.image_id}"),
            tag("figcaption", words(panel, view)),
            class_="panel",
        )
        for panel, data in pictures
    ]
    chips = [
        tag("span", tag("i", style=f"background:rgb{label.color}", aria_hidden="true"), chip_text(label), class_="chip")
        for label in view.labels
    ]
    if view.miou is None or np.isnan(view.miou):
        name, score = view.image_id, " "
    else:
        name, score = f"{view.image_id}, mIoU {view.miou:.1f} percent", f" mIoU {view.miou:.1f} % "
    caption = tag("figcaption", tag("b", view.image_id), score, *chips)
    return tag(
        "figure", caption, tag("div", *figures, class_="panels"), class_="sample", tabindex=0, role="group", aria_label=name
    )


def data_address(data: bytes, kind: str) -> str:
    """A picture as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def words(panel: Panel, view: View) -> str:
    """What a picture shows and, for masks, its score."""
    if panel.heading == "CAM":
        return f"CAM of {panel.caption}"
    is_mask = panel.heading in [mask.heading for mask in view.masks]
    return f"{panel.heading}, {panel.caption}" if is_mask and panel.caption else panel.heading


def chip_text(label: Label) -> str:
    """A class and the IoU of the mask from the CAMs."""
    if label.iou is None:
        return label.name
    return f"{label.name} {'is not in the true mask' if np.isnan(label.iou) else f'{label.iou:.0f} %'}"
