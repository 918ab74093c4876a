"""The report of an experiment: what it shows, what it leaves out, and that it is safe to open anywhere."""

import base64
import html
import io
import json
import re
import shlex
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.labels.classes import class_names
from evaluation import main as evaluate
from tests.helpers.log_lines import log_line
from tests.helpers.processes import complete
from tests.helpers.toy_data import make_toy_voc, write_json, write_lines
from tools.report import gallery
from tools.report import sheet as sheet_of
from tools.report.__main__ import main
from tools.report.charts import nice_ticks
from tools.report.sections import LEAST_POINTS, score_range
from utils.animation import encode
from utils.cams.files import write_cam_dict
from utils.cams.masks import write_mask
from utils.errors import InputError
from utils.experiment.saved import save_options
from utils.options.flags import make_options
from utils.options.recipes import recipe
from utils.options.training import TrainOptions
from utils.picture_table import GAP

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SECTIONS = ["losses", "progress", "classes", "threshold", "images", "options"]
LOSSES = ("cls", "pred_diff", "cam_consistency", "cls_diff", "rcams_consistency")


class Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        return [a for name, a in self.tags if name == tag and attributes.items() <= a.items()]


def make_experiment(root: Path, name: str = "toy run", classes: tuple[str, ...] = ()) -> list[str]:
    """Writes a data set of six images and an experiment with all that a report shows; returns the flags to report it."""
    data = make_toy_voc(root / "data")
    if classes:
        write_lines(data / "classes.txt", *classes)
    ids = sorted(path.stem for path in (data / "JPEGImages").iterdir())
    write_lines(data / "ImageSets" / "Segmentation" / "six.txt", *ids)
    values = {"name": name, "exp": "dig_nano", "experiments": str(root), "data_path": str(data)}
    values |= {"val_list": "six", "lr": 0.5}
    options = make_options(TrainOptions, {**recipe("dig_nano").train, **values})
    save_options(options, class_names(data))
    write_json(options.folder / "scores.json", {e: {"miou": 20 + e, "threshold": 0.3, "map": 50 + e} for e in (1, 2, 3)})
    names = " ".join(f"{name} 0.5" for name in LOSSES[:-1])
    lines = [log_line(e, 10, f"total {3 - e / 2} {names} rcams_consistency 0.0000") for e in range(4)]
    write_lines(options.folder / "log.txt", *lines)
    for i, image_id in enumerate(ids):
        mask = np.array(Image.open(data / "SegmentationClass" / f"{image_id}.png"))
        # From image to image, a column more of the CAMs is wrong.
        cams = {c - 1: np.where(mask == c, 0.9, 0.1) for c in sorted({*np.unique(mask).tolist()} - {0, 255})}
        for cam in cams.values():
            cam[:, : 3 * i] = 0.0
        write_cam_dict(options.folder / "dict" / f"{image_id}.npy", cams)
    return ["--name", name, "--experiments", str(root), "--num-workers", "1"]


@pytest.fixture
def flags(tmp_path) -> list[str]:
    return make_experiment(tmp_path)


@pytest.fixture
def folder(tmp_path, flags) -> Path:
    return tmp_path / "toy run"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    """The report of a whole experiment."""
    root = tmp_path_factory.mktemp("report")
    main(make_experiment(root))
    return (root / "toy run" / "report.html").read_text(encoding="utf-8")


def report(flags: list[str]) -> Page:
    main(flags)
    return Page((Path(flags[3]) / flags[1] / "report.html").read_text(encoding="utf-8"))


def test_all_sections_are_there(page):
    assert [a["id"] for a in Page(page).all("section")] == SECTIONS
    assert [a["href"] for a in Page(page).all("a")] == [f"#{key}" for key in SECTIONS]


def test_ids_are_unique(page):
    ids = Counter(attributes["id"] for _, attributes in Page(page).tags if "id" in attributes)
    assert max(ids.values()) == 1


def test_every_chart_has_a_title_and_a_description(page):
    parsed = Page(page)
    ids = {attributes.get("id") for _, attributes in parsed.tags}
    charts = parsed.all("svg")
    assert len(charts) == 5 + 2 + 2 + 1  # losses but the one that is zero, mIoU and mAP, classes in two columns, threshold
    assert all({chart["aria-labelledby"], chart["aria-describedby"]} <= ids for chart in charts)


def test_every_image_has_its_pictures(page):
    parsed = Page(page)
    assert len(parsed.all("figure", **{"class": "sample"})) == 6
    # Image, truth and mask of each, and CAMs of eight labels.
    assert len(parsed.all("img")) == 6 * 3 + 9
    assert all(a["alt"] for a in parsed.all("img"))


def test_another_list_is_not_taken_for_the_one_scored_during_training(flags):
    text = report([*flags, "--list", "val"]).text
    assert "images scored: val" in text
    assert "tried on the images of the list six." in text


def test_pictures_are_in_the_file(page):
    for attributes in Page(page).all("img"):
        kind, _, data = attributes["src"].partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert max(image.size) == gallery.SIDES[0]


def test_nothing_is_loaded_from_elsewhere(page):
    assert "://" not in page
    assert "@import" not in page
    assert "url(" not in page
    loaded = {a[key] for _, a in Page(page).tags for key in ("src", "href", "srcset", "data") if key in a}
    assert all(value.startswith(("data:", "#")) for value in loaded)


def test_the_headline_is_what_evaluation_finds(tmp_path, flags):
    evaluate([*flags, "--json", str(tmp_path / "scores.json")])
    best = json.loads((tmp_path / "scores.json").read_text())["best"]
    parsed = report(flags)
    assert f"{best['miou']:.2f} %" in parsed.text
    assert f"{best['threshold']:.2f}" in parsed.text


def test_images_go_from_the_worst_up_and_from_the_best_down(page):
    names = [a["aria-label"] for a in Page(page).all("figure", **{"class": "sample"})]
    scores = [float(re.search(r"mIoU ([\d.]+) percent", name)[1]) for name in names]
    assert scores[0] <= scores[1] <= scores[2] <= scores[3] <= scores[5] <= scores[4]


def test_images_of_a_group_are_as_many_as_asked_for(flags):
    assert len(report([*flags, "--images", "1"]).all("figure", **{"class": "sample"})) == 3


def test_options_that_differ_from_the_recipe_come_first(page):
    differing = page.index("What differs from the recipe dig_nano (3)")
    assert differing < page.index("--lr", differing) < page.index("All options")


def test_the_same_inputs_make_the_same_file(folder, flags):
    main(flags)
    first = (folder / "report.html").read_bytes()
    main(flags)
    assert (folder / "report.html").read_bytes() == first


def test_the_file_is_small(page):
    assert len(page) < 3_000_000


def test_pictures_shrink_where_they_would_be_too_many_bytes(flags, monkeypatch):
    monkeypatch.setattr(gallery, "BYTES", 100_000)
    data = report(flags).all("img")[0]["src"].partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert max(image.size) in gallery.SIDES[1:]


def test_its_pictures_are_one_picture_too(folder, flags):
    main([*flags, "--images", "1"])
    with Image.open(folder / "report.png") as sheet:
        assert sheet.width == 4 * (sheet_of.PNG_SIDE + GAP) + GAP  # image, truth, CAM, mask
        assert sheet.height > 3 * 100


def test_the_picture_can_be_a_small_jpeg_of_some_rows(folder, flags, tmp_path, monkeypatch):
    monkeypatch.setattr(sheet_of, "JPEG_BYTES", 90_000)
    sizes = []
    for rows in ("2", "6"):
        main([*flags, "--picture", str(tmp_path / "page.jpg"), "--rows", rows])
        with Image.open(tmp_path / "page.jpg") as picture:
            assert picture.format == "JPEG"
            sizes.append(picture.size)
        assert (tmp_path / "page.jpg").stat().st_size <= 90_000
    assert sizes[0][0] > sizes[1][0]  # fewer rows, larger pictures
    assert not (folder / "report.png").exists()


def test_rows_that_fit_no_jpeg_are_refused(flags, tmp_path, monkeypatch):
    monkeypatch.setattr(sheet_of, "JPEG_BYTES", 500)
    with pytest.raises(InputError, match="show fewer with --rows"):
        main([*flags, "--picture", str(tmp_path / "page.jpg")])
    assert not (tmp_path / "page.jpg").exists()


def test_masks_of_a_crf_and_of_a_network_are_shown_and_scored(folder, flags, tmp_path):
    shutil.copytree(tmp_path / "data" / "SegmentationClass", tmp_path / "seg")
    for path in (tmp_path / "seg").iterdir():
        mask = np.array(Image.open(path))
        write_mask(path, np.where(mask == 255, 0, mask).astype(np.uint8))
        scores = {label: (mask == label).astype(np.float32) for label in {0, *np.unique(mask).tolist()} - {255}}
        write_cam_dict(folder / "crf" / "4" / f"{path.stem}.npy", scores)
    parsed = report([*flags, "--seg", str(tmp_path / "seg")])
    captions = Counter(a["alt"].partition(" of 2007")[0] for a in parsed.all("img"))
    assert captions["CRF mask, alpha 4, mIoU 100.0 %"] == 6
    assert captions["segmentation network, mIoU 100.0 %"] == 6
    perfect = f"{100 * 9 / 21:.2f} %"  # background and the eight classes that the six images have, of 21
    assert f"mIoU of the same images' CRF mask, alpha 4{perfect}" in parsed.text
    assert f"mIoU of the same images' segmentation network{perfect}" in parsed.text
    with Image.open(folder / "report.png") as sheet:
        assert sheet.width == 6 * (sheet_of.PNG_SIDE + GAP) + GAP


def test_a_mask_that_is_not_there_leaves_a_gap(folder, flags, tmp_path):
    (tmp_path / "seg").mkdir()
    shutil.copy(tmp_path / "data" / "SegmentationClass" / "2007_000001.png", tmp_path / "seg")
    parsed = report([*flags, "--seg", str(tmp_path / "seg")])
    assert len([a for a in parsed.all("img") if "segmentation network" in a["alt"]]) == 1
    assert "mIoU of the same images'" not in parsed.text


@pytest.mark.parametrize(("made", "message"), [(False, "is no folder"), (True, "holds no PNG")])
def test_a_folder_without_masks_is_refused(flags, tmp_path, made, message):
    if made:
        (tmp_path / "seg").mkdir()
    with pytest.raises(InputError, match=message):
        main([*flags, "--seg", str(tmp_path / "seg")])


def test_a_picture_of_another_kind_is_refused(flags):
    with pytest.raises(InputError, match=r"--picture must end in \.png or \.jpg"):
        main([*flags, "--picture", "page.svg"])


def test_images_whose_true_masks_are_all_ignored_are_shown(folder, flags):
    for path in (folder.parent / "data" / "SegmentationClass").iterdir():
        write_mask(path, np.full_like(np.array(Image.open(path)), 255))
    assert len(report([*flags, "--images", "1"]).all("figure", **{"class": "sample"})) == 3


def test_an_animation_is_shown_where_it_is(folder, flags):
    data = encode([np.full((8, 8, 3), 40 * i, np.uint8) for i in range(3)], "webp")
    (folder / "cams.webp").write_bytes(data)
    shown = report(flags).all("img", **{"class": "wide"})
    assert [base64.b64decode(a["src"].partition("data:image/webp;base64,")[2]) for a in shown] == [data]


def test_another_file_in_its_place_is_refused(folder, flags):
    (folder / "cams.webp").write_bytes(b"<script>")
    with pytest.raises(InputError, match=r"cams\.webp is no WebP file"):
        main(flags)


@pytest.mark.parametrize("values", [[61.4, 61.6], [0.0, 0.1], [99.9, 99.8], [50.0], [20.0, 70.0]])
def test_small_differences_of_scores_make_no_cliff(values):
    low, high = score_range(values)
    assert high - low >= LEAST_POINTS
    assert 0 <= low <= min(values)
    assert max(values) <= high


def test_names_become_text_and_never_markup(tmp_path):
    bad = "<img src=x onerror=alert(1)>"
    classes = tuple(f"{bad} {i}" for i in range(20))
    parsed = report(make_experiment(tmp_path, f"</title>{bad}&amp;'".replace("/", ""), classes))
    assert not any("onerror" in attributes for _, attributes in parsed.tags)
    assert len(parsed.all("script")) == 1
    assert f"<title>{bad}&amp;'" in parsed.text
    assert classes[8] in parsed.text


@pytest.mark.parametrize(
    ("file", "sections", "way_out"),
    [
        ("log.txt", ["losses"], "python train_trm.py --name 'toy run'"),
        ("scores.json", ["progress"], "--val-from"),
        ("dict", ["classes", "threshold", "images"], "python infer_trm.py --name 'toy run'"),
        ("../data/SegmentationClass", ["classes", "threshold"], "no true masks"),
        ("../data", ["classes", "threshold", "images"], "--data-path"),
    ],
)
def test_a_section_without_data_says_what_makes_them(folder, flags, file, sections, way_out):
    (folder / file).rename(folder / "elsewhere")
    parsed = report(flags)
    assert [a["id"] for a in parsed.all("section")] == SECTIONS
    assert len(parsed.all("p", **{"class": "missing"})) == len(sections)
    assert way_out in parsed.text


def test_without_masks_images_and_cams_are_shown_and_the_reason_is_true(folder, flags, capsys):
    masks = folder.parent / "data" / "SegmentationClass"
    masks.rename(folder / "elsewhere")
    (folder / "scores.json").unlink()
    parsed = report(flags)
    assert len(parsed.all("figure", **{"class": "sample"})) == 6
    pictures = [a["alt"] for a in parsed.all("img")]
    assert "photograph of 2007_000001" in pictures
    assert {"CAM of dog of 2007_000001", "CAM of sofa of 2007_000001"} <= {*pictures}
    assert not any("true mask" in picture or "%" in picture for picture in pictures)
    assert f"No epoch has been scored. There are no true masks to score with: they belong into {masks}." in parsed.text
    assert "--val-from" not in parsed.text.partition("What differs from the recipe")[0]
    assert f"not scored: There are no true masks to score with: they belong into {masks}." in capsys.readouterr().out
    with Image.open(folder / "report.png") as sheet:
        assert sheet.width == 3 * (sheet_of.PNG_SIDE + GAP) + GAP  # image, CAM, mask from the CAMs


def test_where_some_masks_are_missing_they_are_counted_and_images_shown(folder, flags):
    (folder.parent / "data" / "SegmentationClass" / "2007_000002.png").unlink()
    parsed = report(flags)
    assert "1 of the 6 images of six have no true mask in" in parsed.text
    assert len(parsed.all("figure", **{"class": "sample"})) == 6
    assert len(report([*flags, "--list", "val"]).all("svg")) > len(parsed.all("svg"))  # those that have masks are scored


def test_of_many_images_without_masks_some_are_shown(folder, flags):
    (folder.parent / "data" / "SegmentationClass").rename(folder / "elsewhere")
    parsed = report([*flags, "--images", "1"])
    names = [a["aria-label"] for a in parsed.all("figure", **{"class": "sample"})]
    assert names == ["2007_000000", "2007_000002", "2007_000005"]


def test_weights_that_came_without_options_are_reported(folder, flags):
    (folder / "options.json").unlink()
    parsed = report([*flags, "--data-path", str(folder.parent / "data"), "--list", "val"])
    assert "options.json is missing" in parsed.text
    assert len(parsed.all("figure", **{"class": "sample"})) == 2


def test_an_image_without_labels_is_shown(folder, flags):
    path = folder.parent / "data" / "SegmentationClass" / "2007_000000.png"
    Image.fromarray(np.zeros_like(np.array(Image.open(path)))).save(path)
    write_cam_dict(folder / "dict" / "2007_000000.npy", {})
    assert "2007_000000, mIoU 100.0 percent" in {a.get("aria-label") for a in report(flags).all("figure")}


def test_a_damaged_cam_file_is_named(folder, flags):
    (folder / "dict" / "2007_000003.npy").write_bytes(b"no")
    with pytest.raises(InputError, match=r"2007_000003\.npy is no CAM dict"):
        main(flags)
    assert not (folder / "report.html").exists()


def test_a_data_set_with_other_classes_is_refused(folder, flags):
    write_lines(folder.parent / "data" / "classes.txt", "cat", "dog")
    with pytest.raises(InputError, match="other classes than the run"):
        main(flags)


@pytest.mark.parametrize("content", ['{"x": {"miou": 1, "threshold": 0}}', '{"1": {"miou": NaN, "threshold": 0}}', "[]"])
def test_damaged_scores_are_refused(folder, flags, content):
    (folder / "scores.json").write_text(content)
    with pytest.raises(InputError, match=r"scores\.json"):
        main(flags)


def test_a_folder_without_an_experiment_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no experiment"):
        main(["--name", "empty", "--experiments", str(tmp_path)])


def test_the_command_says_what_it_has_written(tmp_path, flags):
    result = complete(f"-m tools.report {shlex.join(flags)} --out {tmp_path}/there/r.html", tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"done: {tmp_path}/there/r.html, 0.")
    assert (tmp_path / "there" / "r.html").exists()


def test_the_command_ends_with_one_line_where_there_is_no_experiment(tmp_path):
    result = complete(f"-m tools.report --name nobody --experiments {tmp_path}", tmp_path)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        f"error: there is no experiment {tmp_path}/nobody: train one, or name another with --name and --experiments"
    ]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.0061), (61.4, 67.5), (0, 0), (5, 5), (-2, 3), (0, 1e9)])
def test_ticks_enclose_the_values(low, high):
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low <= high <= ticks[-1]
    assert 2 <= len(ticks) <= 8


# Runs in a page that holds the report in frames, for windows themselves cannot be narrower than 500 pixels.
MEASURE = """onload = () => {
    const found = [...document.querySelectorAll("iframe")].map((frame) => {
        const page = frame.contentDocument, root = page.documentElement;
        for (const details of page.querySelectorAll("details")) details.open = true;
        const samples = [...page.querySelectorAll(".sample")];
        samples[0].focus();
        page.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
        const picture = page.querySelector(".sample img").naturalWidth;
        return [root.clientWidth, root.scrollWidth, root.scrollHeight, picture, samples.indexOf(page.activeElement)];
    });
    document.title = JSON.stringify(found);
}"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
def test_a_browser_shows_all_of_it_in_the_width_of_its_window(page, tmp_path):
    widths = (360, 390, 1400)
    frames = "".join(f'<iframe style="width: {w}px; border: 0" srcdoc="{html.escape(page)}"></iframe>' for w in widths)
    path = tmp_path / "frames.html"
    path.write_text(f"<!DOCTYPE html><meta charset=utf-8>{frames}<script>{MEASURE}</script>", encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += f" --disable-component-update --disable-sync --user-data-dir={tmp_path}/profile --dump-dom"
    result = subprocess.run([CHROMIUM, *flags.split(), f"file://{path}"], capture_output=True, text=True, timeout=120)
    found = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", result.stdout)[1]))
    for width, (clear, needed, height, picture, focused) in zip(widths, found, strict=True):
        assert needed <= clear <= width
        assert height > 2000
        assert picture == gallery.SIDES[0]
        assert focused == 1
