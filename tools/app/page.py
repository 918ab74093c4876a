"""The page itself, made with Gradio; its answers are `Explorer`'s."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from fastapi import Request, Response
from PIL import Image
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint

from utils.errors import InputError
from utils.images import open_rgb

from .downloads import KINDS
from .explorer import WELCOME, Explorer
from .figures import heading, line
from .photograph import Photograph

STYLE = Path(__file__).parent / "page.css"
THEME = gr.themes.Default(font=("system-ui", "sans-serif"), font_mono=("monospace",))
"""Fonts of the reader's machine; none are downloaded."""
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; connect-src 'self' data: blob:"
)
"""What a browser may load for the page: only what this machine serves."""
IDLE_SECONDS = 3600
"""After this time a visitor's photograph and files are removed."""
VISITORS = 24
"""Visitors whose photographs are kept at a time; beyond it, the longest inactive one starts anew."""
LABEL_THRESHOLD, ALPHA = 0.5, 4.0
"""Initial values of the sliders."""
THUMBNAIL = 160
"""Longer side of an example in pixels."""
START_DOWNLOAD = "() => setTimeout(() => document.querySelector('#file-link').click(), 100)"
QUICK: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last", "queue": False}
"""For sliders: answered at once, without the network's queue, and only the last of several events."""
SLOW: dict[str, Any] = {"show_progress": "minimal", "concurrency_limit": 1, "concurrency_id": "network"}
"""For the network: one visitor at a time."""


class Parts(NamedTuple):
    """The components of the page."""

    photograph: gr.State
    cams: gr.State
    file: gr.File
    gallery: gr.Gallery
    names: gr.Dropdown
    label_threshold: gr.Slider
    threshold: gr.Slider
    alpha: gr.Slider
    message: gr.HTML
    image: gr.HTML
    cam_mask: gr.HTML
    crf_mask: gr.HTML
    segments: gr.HTML
    heat: gr.HTML
    source: gr.Radio
    buttons: dict[str, gr.Button]
    link: gr.DownloadButton

    @property
    def controls(self) -> list[gr.components.Component]:
        """What `Explorer.answer` takes after the photograph."""
        return [self.names, self.label_threshold, self.threshold, self.alpha]

    @property
    def shown(self) -> list[gr.components.Component]:
        """The components that `Explorer.answer` fills, in the order of `Answer`."""
        masks = [self.cam_mask, self.crf_mask, self.segments]
        return [self.photograph, self.cams, self.message, self.image, *masks, self.heat]


def build_page(
    explorer: Explorer, title: str, subtitle: str, examples: Sequence[Path], threshold: float, files: Path
) -> gr.Blocks:
    """The page.

    Args:
        explorer: gives the answers.
        title, subtitle: text at the top.
        examples: photographs offered as examples.
        threshold: initial background score.
        files: folder of downloads.
    """
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(IDLE_SECONDS, IDLE_SECONDS)) as page:
        gr.HTML(heading(title, subtitle), elem_id="title")
        connect(lay_out(explorer, examples, threshold), explorer, examples, files)
    return page


def lay_out(explorer: Explorer, examples: Sequence[Path], threshold: float) -> Parts:
    """Makes the components: inputs on the left or on top, results beside or below them."""
    photograph, cams = gr.State(None, time_to_live=IDLE_SECONDS), gr.State({}, time_to_live=IDLE_SECONDS)
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            file = gr.File(label="Photograph", height=130, elem_id="photograph")
            gallery = example_gallery(examples, explorer.model.white)
            names = gr.Dropdown(
                list(explorer.model.classes),
                multiselect=True,
                label="Classes",
                info="Without a choice: those that the network finds.",
                elem_id="classes",
            )
            found = gr.Slider(0, 1, LABEL_THRESHOLD, step=0.01, label="Found from probability")
        with gr.Column(scale=3, min_width=300):
            message = gr.HTML(line(WELCOME), elem_id="message")
            with gr.Row():
                score = gr.Slider(0, 1, threshold, step=0.01, label="Background score", min_width=260, elem_id="threshold")
                alpha = gr.Slider(
                    0.5,
                    16,
                    ALPHA,
                    step=0.5,
                    label="Exponent alpha of the CRF",
                    min_width=260,
                    visible=explorer.has_crf,
                    elem_id="alpha",
                )
            with gr.Row(elem_classes="figures"):
                image, cam_mask = gr.HTML(elem_id="image"), gr.HTML(elem_id="cam-mask")
                crf_mask = gr.HTML(elem_id="crf-mask", visible=explorer.has_crf)
                segments = gr.HTML(elem_id="segments", visible=explorer.segmenter is not None)
            heat = gr.HTML(elem_id="heat")
            source = gr.Radio(explorer.sources, value=explorer.sources[0], label="Download the mask from", elem_id="source")
            with gr.Row(elem_id="downloads"):
                buttons = {kind: gr.Button(kind, size="md", min_width=90, elem_id=f"get-{kind.lower()}") for kind in KINDS}
                link = gr.DownloadButton(visible="hidden", elem_id="file-link")
    return Parts(
        photograph, cams, file, gallery, names, found, score, alpha, message, image, cam_mask, crf_mask, segments, heat,
        source, buttons, link,
    )  # fmt: skip


def connect(parts: Parts, explorer: Explorer, examples: Sequence[Path], files: Path) -> None:
    """Connects uploads, controls and download buttons with the explorer's answers."""

    def take(path: str | None, *controls: Any) -> tuple[Any, ...]:
        return explorer.answer(*explorer.open(path), *controls)

    def take_example(event: gr.SelectData, *controls: Any) -> tuple[Any, ...]:
        return take(str(examples[event.index]), *controls)

    def choose(photo: Photograph | None, *controls: Any) -> tuple[Any, ...]:
        return explorer.answer(photo, "", *controls)

    def move_threshold(photo: Photograph | None, cams: dict, threshold: float) -> tuple[str, str]:
        return explorer.cam_mask_figure(photo, cams, threshold), explorer.cam_figures(photo, cams, threshold)

    def write(kind: str, photo: Photograph | None, cams: dict, source: str, threshold: float, alpha: float) -> str:
        if photo is None:
            raise gr.Error(WELCOME, print_exception=False)
        try:
            folder = Path(tempfile.mkdtemp(dir=files))
            return str(explorer.download(photo, cams, source, kind, threshold, alpha, folder))
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from error

    private = {"api_visibility": "private"}
    state = [parts.photograph, parts.cams]
    parts.file.change(take, [parts.file, *parts.controls], parts.shown, **SLOW, **private)
    parts.gallery.select(take_example, parts.controls, parts.shown, **SLOW, **private)
    for event in (parts.names.change, parts.label_threshold.input):
        event(choose, [parts.photograph, *parts.controls], parts.shown, **QUICK, **private)
    parts.threshold.input(move_threshold, [*state, parts.threshold], [parts.cam_mask, parts.heat], **QUICK, **private)
    parts.alpha.input(explorer.crf_figure, [*state, parts.alpha], parts.crf_mask, **QUICK, **private)
    for kind, button in parts.buttons.items():
        wanted = [*state, parts.source, parts.threshold, parts.alpha]
        made = button.click(lambda *values, kind=kind: write(kind, *values), wanted, parts.link, **SLOW, **private)
        made.success(None, js=START_DOWNLOAD)


def example_gallery(examples: Sequence[Path], white: float) -> gr.Gallery:
    """Small pictures of the examples; hidden if there are none."""
    return gr.Gallery(
        [thumbnail(path, white) for path in examples],
        label="Examples",
        columns=3,
        height="auto",
        object_fit="cover",
        allow_preview=False,
        interactive=False,
        buttons=[],
        visible=bool(examples),
        elem_id="examples",
    )


def thumbnail(path: Path, white: float) -> Image.Image:
    """A small picture of a photograph; for `white` see `utils.images.to_rgb`."""
    image = open_rgb(path, white)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return image


def launch(page: gr.Blocks, host: str, port: int, most_bytes: int) -> None:
    """Serves the page until Ctrl-C.

    Args:
        page: the page.
        host, port: its address; port 0: the first free one from 7860 on.
        most_bytes: largest upload in bytes.

    Raises:
        InputError: the address cannot be used.
    """
    page.queue(default_concurrency_limit=None)
    try:
        page.launch(
            server_name=host,
            server_port=port or None,
            share=False,
            inbrowser=False,
            quiet=True,
            footer_links=[],
            theme=THEME,
            css_paths=STYLE,
            max_file_size=most_bytes,
            state_session_capacity=VISITORS,
            app_kwargs={"middleware": [Middleware(BaseHTTPMiddleware, dispatch=with_policy)]},
            ssr_mode=False,
            enable_monitoring=False,
            pwa=False,
            mcp_server=False,
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise InputError(f"the page cannot be served at {host}, port {port}: {error}; take another --port") from error
    print(f"the page is at {page.local_url}; Ctrl-C ends it", flush=True)
    page.block_thread()


async def with_policy(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Adds the policy to every answer."""
    response = await call_next(request)
    response.headers["Content-Security-Policy"] = POLICY
    return response
