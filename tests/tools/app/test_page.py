"""The page on which an experiment is tried: its command, and what a browser shows of it."""

import importlib.util
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers import ROOT
from tests.helpers.processes import start
from tests.helpers.toy_data import make_toy_voc
from tests.helpers.trained import make_run
from tests.helpers.warm import Command
from tools.app import __main__ as app
from utils.cams.masks import read_mask
from utils.errors import InputError
from utils.options.tools.app import AppOptions

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = [name for name in ("gradio", "playwright") if importlib.util.find_spec(name) is None]
MISSING += ["chromium"] * (CHROMIUM is None)
needs_a_browser = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
WIDTHS = (1400, 390)
PHOTOGRAPH = "#photograph input[type=file]"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with the experiment `run`, the data set `VOC2012` and two photographs."""
    root = tmp_path_factory.mktemp("app")
    make_run(root, make_toy_voc(root / "VOC2012"))
    for number, size in enumerate(((500, 375), (375, 500))):
        pixels = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(root / f"photo {number}.jpg")
    (root / "text.jpg").write_text("not an image")
    return root


def options(root: Path, **others: Any) -> AppOptions:
    return AppOptions(name="run", experiments=str(root), device="cpu", **others)


def test_without_gradio_a_line_says_what_to_install(root, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^the page needs Gradio: pip install --no-deps -r requirements-app\.txt$"):
        app.main(["--name", "run", "--experiments", str(root)])


def test_the_requirements_are_exact():
    lines = (ROOT / "requirements-app.txt").read_text().splitlines()
    assert all("==" in line for line in lines if not line.startswith("#"))
    assert not any(line.startswith(("pillow", "numpy", "torch")) for line in lines)


def test_examples_are_evenly_spaced_in_the_runs_list(root):
    assert [path.stem for path in app.examples_of(options(root, examples=2))] == ["2007_000000", "2007_000002"]
    assert app.examples_of(options(root, examples=0)) == []


def test_without_the_data_there_are_no_examples(root, capsys):
    assert app.examples_of(options(root, data_path=str(root / "nowhere"))) == []
    assert capsys.readouterr().out.startswith("without examples: ")


def test_a_segmentation_network_that_is_not_ready_is_left_out_and_told(root, capsys):
    (root / "run_seg").mkdir()
    assert app.load_segmenter(options(root)) is None
    assert capsys.readouterr().out.startswith("without a segmentation network: ")
    (root / "run_seg").rmdir()
    assert app.load_segmenter(options(root)) is None
    with pytest.raises(InputError, match="other_seg"):
        app.load_segmenter(options(root, seg="other_seg"))


def test_a_name_that_is_no_experiment_is_told_with_the_one_meant(root):
    with pytest.raises(InputError, match=r"there is no experiment \S+/rum \(did you mean 'run'\?\)$"):
        app.load_model(AppOptions(name="rum", experiments=str(root)))


def start_page(root: Path, **environment: str) -> tuple[Command, str]:
    """The command itself, and where it serves the page."""
    line = f"-m tools.app --name run --experiments {root} --device cpu --port 0 --max_mb 1 --examples 2"
    process = start(line, root, HF_HUB_OFFLINE="1", **environment)
    return process, process.wait_for("the page is at ").split()[4].rstrip(";")


@pytest.mark.slow
@pytest.mark.skipif("gradio" in MISSING, reason="not installed: gradio")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_a_page_that_was_ended(root, tmp_path, number):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"{signal.Signals(number).name} is ignored here, as in the background of a shell")
    process, _ = start_page(root, TMPDIR=str(tmp_path))
    assert len(list(tmp_path.glob("dig-app-*"))) == 1
    process.send_signal(number)
    process.communicate(timeout=60)
    assert list(tmp_path.glob("dig-app-*")) == []


@pytest.fixture(scope="module")
def address(root) -> Iterator[str]:
    """Where the page is served."""
    process, address = start_page(root)
    yield address
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        yield browser


def open_page(browser: Any, address: str, width: int = WIDTHS[0]) -> Any:
    """The page in a tab of its own, when it is ready."""
    tab = browser.new_page(viewport={"width": width, "height": 900})
    tab.asked = []
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.goto(address)
    tab.wait_for_selector(PHOTOGRAPH, state="attached", timeout=60_000)
    return tab


def upload(tab: Any, path: Path) -> None:
    """Hands in a photograph, and chooses a class."""
    tab.set_input_files(PHOTOGRAPH, path)
    tab.wait_for_selector(f"#message >> text={path.name},", timeout=60_000)
    tab.click("#classes input")
    tab.click("[role=option] >> text=dog")
    tab.wait_for_selector("#cam-mask b >> text=dog")


def share(tab: Any) -> str:
    return tab.inner_text("#cam-mask .legend")


def move(tab: Any, name: str, value: float) -> None:
    """Moves a slider as a hand does: the page hears of it at once."""
    script = "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }"
    tab.eval_on_selector(f"#{name} input[type=range]", script, str(value))


@needs_a_browser
@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_a_browser_uploads_moves_and_downloads_without_the_internet(root, address, browser, width):
    tab = open_page(browser, address, width)
    upload(tab, root / "photo 0.jpg")
    before = share(tab)
    move(tab, "threshold", 0.9)
    tab.wait_for_function("before => document.querySelector('#cam-mask .legend')?.innerText !== before", arg=before)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for picture in tab.query_selector_all("#image img, #cam-mask img, #heat img"):
        assert picture.bounding_box()["width"] > 100
        assert picture.get_attribute("alt")
    with tab.expect_download() as download:
        tab.click("#get-png")
    assert download.value.suggested_filename == "photo 0.png"
    mask = read_mask(Path(download.value.path()), (375, 500), 20)
    assert set(np.unique(mask)) <= {0, 12}
    with tab.expect_download() as download:
        tab.click("#get-labelme")
    assert json.loads(Path(download.value.path()).read_text())["imagePath"] == "photo 0.jpg"
    assert [url for url in tab.asked if not url.startswith((address, "data:", "blob:"))] == []
    tab.close()


@needs_a_browser
@pytest.mark.slow
def test_tabs_do_not_mix(root, address, browser):
    tabs = [open_page(browser, address) for _ in range(2)]
    for number, tab in enumerate(tabs):
        upload(tab, root / f"photo {number}.jpg")
    for number, tab in enumerate(tabs):
        move(tab, "threshold", 0.2)
        with tab.expect_download() as download:
            tab.click("#get-png")
        assert download.value.suggested_filename == f"photo {number}.png"
        assert f"photo {number}.jpg" in tab.inner_text("#message")
        read_mask(Path(download.value.path()), ((375, 500), (500, 375))[number], 20)
        tab.close()


@needs_a_browser
@pytest.mark.slow
def test_a_bad_file_is_told_in_one_line_and_the_page_goes_on(root, address, browser):
    tab = open_page(browser, address)
    tab.set_input_files(PHOTOGRAPH, root / "text.jpg")
    tab.wait_for_selector("#message >> text=text.jpg is no readable image", timeout=60_000)
    assert "Traceback" not in tab.content()
    assert tab.query_selector("#image img") is None
    tab.click("#examples button >> nth=1")
    tab.wait_for_selector("#message >> text=2007_000002.jpg", timeout=60_000)
    tab.close()
