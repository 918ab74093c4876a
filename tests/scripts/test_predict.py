"""Masks and pictures of loose images: which files, which labels, what is refused."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

import predict
from datasets.labels.classes import VOC_CLASSES
from models import build_dig, load_cam_model
from tests.helpers.toy_data import make_toy_voc
from tests.helpers.trained import make_run
from utils.cams.masks import read_mask, voc_palette
from utils.cams.pictures import cam_overlay
from utils.errors import InputError, run_script
from utils.options.flags import build_parser, make_options, option, parse_options, spelling
from utils.options.inference import PredictOptions
from utils.options.recipes import RECIPES
from utils.options.training import TrainOptions
from utils.scoring.best_threshold import evaluation_file
from utils.scoring.metrics import label_map
from utils.training.checkpoint import save_file

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
DOG, CAT = "2007_000001", "2007_000000"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with the experiment `run` and the data set `VOC2012`."""
    root = tmp_path_factory.mktemp("predict")
    make_run(root, make_toy_voc(root / "VOC2012"))
    return root


def line(root: Path, images: str, extra: str) -> list[str]:
    return f"{images} --name run --experiments {root} --device cpu {extra}".split()


def image_of(root: Path, name: str = DOG) -> Path:
    return root / "VOC2012" / "JPEGImages" / f"{name}.jpg"


def files(*classes: str, stem: str = DOG) -> list[str]:
    """Names of all files after one image, sorted."""
    return sorted([f"{stem}.png", f"{stem}_overlay.jpg", *(f"{stem}_{name}.png" for name in classes), "predictions.json"])


def run(root: Path, out: Path, extra: str, *images: Path) -> list[str]:
    """Predicts; returns the names of the files that are there then."""
    predict.main(line(root, " ".join(map(str, images or (image_of(root),))), f"--out {out} {extra}"))
    return sorted(path.name for path in out.iterdir())


@pytest.mark.parametrize("flag", ["--infer-size 24", "--infer_cap 24"])
def test_the_size_that_the_network_sees_can_be_told(root, tmp_path, flag):
    run(root, tmp_path / "told", f"--labels dog {flag}")
    model = load_cam_model(root / "run", device="cpu", infer_size=24)
    picture = cam_overlay(np.asarray(Image.open(image_of(root))), model.cam(image_of(root), "dog")["dog"])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "told" / f"{DOG}_dog.png")), picture)
    run(root, tmp_path / "whole", "--labels dog")
    assert (np.asarray(Image.open(tmp_path / "whole" / f"{DOG}_dog.png")) != picture).any()


def test_an_image_gets_a_mask_and_a_picture_of_each_label(root, tmp_path):
    names = run(root, tmp_path, "--labels dog,sofa --threshold 0.3")
    assert names == files("dog", "sofa")
    cams = load_cam_model(root / "run", device="cpu").cam(image_of(root), ["dog", "sofa"])
    scores = {0: np.full(cams["dog"].shape, 0.3, np.float32), 12: cams["dog"], 18: cams["sofa"]}
    mask = read_mask(tmp_path / f"{DOG}.png", cams["dog"].shape, 20)
    np.testing.assert_array_equal(mask, label_map(scores))
    assert set(np.unique(mask)) == {0, 12, 18}
    picture = cam_overlay(np.asarray(Image.open(image_of(root))), cams["sofa"])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"{DOG}_sofa.png")), picture)


def test_masks_have_vocs_colours(root, tmp_path):
    run(root, tmp_path, "--labels dog")
    assert Image.open(tmp_path / f"{DOG}.png").getpalette() == voc_palette().flatten().tolist()


def test_labels_may_be_spaced_and_repeated():
    options = parse_options(PredictOptions, ["a.jpg", "--name", "x", "--labels", "potted plant, dog,dog"], "predict.py", "")
    assert options.named_labels == ("potted plant", "dog")


def test_auto_takes_the_classes_that_the_network_finds_and_says_so(root, tmp_path, capsys):
    probabilities = load_cam_model(root / "run", device="cpu").probabilities(image_of(root))
    second, first = sorted(probabilities.values())[-2:]
    name = max(probabilities, key=probabilities.get)
    names = run(root, tmp_path, f"--label_threshold {(first + second) / 2}")
    assert names == files(name)
    assert f"{DOG}.jpg: {name} {first:.2f} -> {tmp_path}/{DOG}.png" in capsys.readouterr().out


def test_auto_that_finds_nothing_makes_a_mask_of_background(root, tmp_path, capsys):
    assert run(root, tmp_path, "--label_threshold 1") == files()
    assert not read_mask(tmp_path / f"{DOG}.png", None, 20).any()
    assert "no class of probability 1 or more" in capsys.readouterr().out


def test_a_folder_means_the_images_in_it_and_each_counts_once(root, tmp_path, capsys):
    folder = root / "VOC2012" / "JPEGImages"
    names = run(root, tmp_path, "--labels cat", folder, folder / f"{CAT}.jpg")
    masks = [name for name in names if name.endswith(".png") and "cat" not in name]
    assert masks == [f"{path.stem}.png" for path in sorted(folder.iterdir())]
    assert "6 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (None, "background score 0.4 (the default)"),
        ("{", "background score 0.4 (the default)"),
        ("[]", "background score 0.4 (the default)"),
        (json.dumps({"threshold": 0.27, "weights": "", "miou": 1}), "background score 0.27 (the best of "),
        *(
            (json.dumps({"threshold": 0.27, "weights": "", "miou": 1, "made_with": {"infer_size": 0} | other}), shown)
            for other, shown in (
                ({}, "background score 0.27 (the best of "),
                ({"white_level": 65535.0}, "is of CAMs with another white_level than the run's"),
                ({"scales": [1.0, 2.0]}, "is of CAMs with another scales than the run's"),
            )
        ),
    ],
)
def test_the_background_score_is_the_experiments_best_where_there_is_one(root, tmp_path, capsys, content, shown):
    path = evaluation_file(root / "run")
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_text(content)
    run(root, tmp_path, "--labels dog")
    path.unlink(missing_ok=True)
    assert shown in capsys.readouterr().out


def test_a_bad_image_does_not_keep_the_others_from_being_done(root, tmp_path):
    bad, small = tmp_path / "bad.jpg", tmp_path / "small.png"
    bad.write_bytes(b"no image")
    Image.new("RGB", (3, 3)).save(small)
    with pytest.raises(
        InputError, match=r"2 of 3 images .*bad\.jpg is no .*small\.png: the image is 3 x 3 .*; all others are done$"
    ):
        run(root, tmp_path / "out", "--labels dog", bad, small, image_of(root))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == files("dog")
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [one["file"] for one in content["images"]] == [str(image_of(root))]
    assert [one["file"] for one in content["failed"]] == [str(bad), str(small)]
    assert content["failed"][1]["reason"].startswith(f"{small}: the image is 3 x 3")


def test_links_in_a_circle_companions_of_macos_and_unread_files_are_told_as_such(root, tmp_path):
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    for name in ("._mac.jpg", "raw.nef"):
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    with pytest.raises(InputError) as caught:
        run(root, tmp_path / "out", "--labels dog", *(tmp_path / name for name in ("loop.jpg", "._mac.jpg", "raw.nef")))
    assert str(caught.value).replace(f"{tmp_path}/", "") == (
        "3 of 3 images cannot be used: loop.jpg is a link that leads nowhere; ._mac.jpg is no readable image: macOS keeps "
        "such a file beside each of its own; raw.nef is no readable image: raw files are not read: save it as PNG"
    )


def test_what_a_folder_holds_beside_images_is_named(root, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name in ("raw.nef", "._mac.jpg"):
        (tmp_path / "in" / name).touch()
    with pytest.raises(InputError, match=r"in holds no image .*; left out of \S+/in: raw\.nef \(raw files are not read"):
        run(root, tmp_path / "out", "--labels dog", tmp_path / "in")
    Image.new("RGB", (30, 30)).save(tmp_path / "in" / "a.png")
    run(root, tmp_path / "out", "--labels dog", tmp_path / "in")
    assert f"left out of {tmp_path}/in: raw.nef (raw files are not read: save it as PNG)\n" in capsys.readouterr().out


def test_two_images_of_one_stem_are_refused_before_anything_is_written(root, tmp_path):
    twin = tmp_path / f"{DOG}.png"
    Image.new("RGB", (30, 30)).save(twin)
    with pytest.raises(InputError, match=rf"{DOG}\.jpg and .*{DOG}\.png would both be written to .*out/{DOG}\.png"):
        run(root, tmp_path / "out", "--labels dog", image_of(root), twin)
    assert not (tmp_path / "out").exists()


def test_a_mask_that_would_replace_a_picture_is_refused(root, tmp_path):
    for name in ("a.jpg", "a_dog.jpg"):
        Image.new("RGB", (30, 30)).save(tmp_path / name)
    with pytest.raises(InputError, match=r"would both be written to .*a_dog\.png"):
        run(root, tmp_path / "out", "", tmp_path)


def test_results_never_replace_an_image(root, tmp_path):
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(InputError, match=r"a\.png, a result of .*, would replace an image: name another folder with --out"):
        run(root, tmp_path, "--labels dog", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == before


def test_class_names_that_lead_elsewhere_are_refused(root, tmp_path):
    folder = make_run(tmp_path, root / "VOC2012")
    path = folder / "options.json"
    path.write_text(path.read_text().replace('"dog"', '"../dog"'))
    with pytest.raises(InputError, match=r"options\.json names '\.\./dog'; files are named after classes"):
        run(tmp_path, tmp_path / "out", "", image_of(root))


@pytest.mark.parametrize(
    ("images", "extra", "message"),
    [
        ("nowhere.jpg", "--labels wolf", "'wolf' is no class of "),
        ("nowhere.jpg", "--labels dog,", "--labels takes auto or names with commas between, such as dog,sofa"),
        ("nowhere.jpg", "--threshold 2", "--threshold must be at most 1"),
        ("nowhere.jpg", "--load_epo 9", r"009net_trm\.pth is missing"),
        ("nowhere.jpg", "--export voc", r"argument --export: invalid choice: 'voc' \(choose from '?coco'?, '?labelme'?\)"),
        ("nowhere.jpg", "--tolerance -1", "--tolerance must be at least 0"),
        ("", "", "the following arguments are required: IMAGE"),
        ("-", "", r"- is no image: predict\.py reads files and folders, not its standard input"),
        ("https://example.org/dog.jpg", "", r"https://example\.org/dog\.jpg is an address: download the image, and name"),
        (
            "{root}/VOC2012/JPEGImages/*.jpg",
            "",
            r"\*\.jpg is a pattern: 6 files match, but its quotes keep",
        ),
        ("*.jpg", "", r"\*\.jpg is a pattern: no file matches it"),
        ("nowhere.jpg", "--labels dgo", r"'dgo' is no class of \S+ \(did you mean 'dog'\?\)$"),
        ("nowhere.jpg", "--treshold 0.3", r"; --treshold \(did you mean '--threshold'\?\)"),
        ("nowhere.jpg", "--name rum", r"there is no experiment \S+/rum \(did you mean 'run'\?\)$"),
        (
            "nowhere.jpg",
            "--load_epo 9",
            r"009net_trm\.pth is missing\. Train first, or take one of 1 epochs there, 0 is nearest",
        ),
        ("{root}/run", "", r"run holds no image \(looked for .*not in sub-folders\)"),
    ],
)
def test_wrong_input_is_refused_in_one_line(root, tmp_path, monkeypatch, images, extra, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        predict.main(line(root, images.format(root=root), extra))
    assert list(tmp_path.iterdir()) == []


def test_where_no_image_can_be_used_the_reasons_are_kept(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"1 of 1 images cannot be used: nowhere\.jpg is missing$"):
        predict.main(line(root, "nowhere.jpg", "--labels dog"))
    content = json.loads(Path("predictions/predictions.json").read_text())
    assert content == {"images": [], "failed": [{"file": "nowhere.jpg", "reason": "nowhere.jpg is missing"}]}


def test_predictions_say_what_is_where(root, tmp_path):
    run(root, tmp_path, "--labels dog,sofa --threshold 0.3")
    (one,) = json.loads((tmp_path / "predictions.json").read_text())["images"]
    mask = read_mask(tmp_path / f"{DOG}.png", None, 20)
    probabilities = load_cam_model(root / "run", device="cpu").probabilities(image_of(root))
    assert (one["file"], one["height"], one["width"]) == (str(image_of(root)), *mask.shape)
    assert (one["background_score"], one["weights"]) == (0.3, f"{root}/run/ckpt/000net_trm.pth")
    assert (one["mask"], one["overlay"]) == (f"{DOG}.png", f"{DOG}_overlay.jpg")
    assert one["classes"] == [
        {
            "name": name,
            "value": value,
            "share": pytest.approx((mask == value).mean()),
            "probability": probabilities[name],
            "picture": f"{DOG}_{name}.png",
        }
        for name, value in (("dog", 12), ("sofa", 18))
    ]


def test_what_was_done_before_a_stop_is_in_the_predictions(root, tmp_path, monkeypatch):
    cat, dog = image_of(root, CAT), image_of(root)
    opened = predict.open_rgb

    def stop_at_dog(path: Path, white: float) -> Image.Image:
        if path == dog:
            raise KeyboardInterrupt
        return opened(path, white)

    monkeypatch.setattr(predict, "open_rgb", stop_at_dog)
    with pytest.raises(KeyboardInterrupt):
        run(root, tmp_path, "--labels cat", cat, dog)
    assert [one["file"] for one in json.loads((tmp_path / "predictions.json").read_text())["images"]] == [str(cat)]


def test_polygons_are_those_of_the_masks(root, tmp_path):
    images = root / "VOC2012" / "JPEGImages"
    names = run(root, tmp_path, "--labels cat,dog --export coco --export labelme --tolerance 0", images)
    assert {"annotations.json", f"{DOG}.json", f"{CAT}.json"} <= {*names}
    coco = COCO(str(tmp_path / "annotations.json"))
    assert [coco.cats[c]["name"] for c in sorted(coco.cats)] == [*VOC_CLASSES]
    assert len(coco.imgs) == 6
    for image in coco.imgs.values():
        assert (images / image["file_name"]).is_file()
        mask = read_mask(tmp_path / Path(image["file_name"]).with_suffix(".png"), None, 20)
        drawn = np.zeros_like(mask)
        for annotation in coco.imgToAnns[image["id"]]:
            drawn[coco.annToMask(annotation) > 0] = annotation["category_id"]
            assert 0 < annotation["score"] < 1
        np.testing.assert_array_equal(drawn, mask)
        document = json.loads((tmp_path / f"{Path(image['file_name']).stem}.json").read_text())
        assert (tmp_path / document["imagePath"]).samefile(images / image["file_name"])
        assert len(document["shapes"]) == len(coco.imgToAnns[image["id"]])


def test_a_larger_tolerance_gives_fewer_corners(root, tmp_path):
    sizes = []
    for tolerance in (0, 2):
        run(root, tmp_path / str(tolerance), f"--labels dog --export coco --tolerance {tolerance}")
        content = json.loads((tmp_path / str(tolerance) / "annotations.json").read_text())
        sizes.append(sum(len(one["segmentation"][0]) for one in content["annotations"]))
    assert sizes[1] < sizes[0] / 2


def test_an_image_that_is_called_like_the_file_for_all_is_refused(root, tmp_path):
    Image.new("RGB", (30, 30)).save(tmp_path / "predictions.jpg")
    with pytest.raises(InputError, match=r"predictions\.json, a result of .*jpg, is the name of the file for all images"):
        run(root, tmp_path / "out", "--export labelme", tmp_path / "predictions.jpg")
    run(root, tmp_path / "out", "--export coco", tmp_path / "predictions.jpg")


def test_published_weights_need_no_run_and_no_data_set(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    architecture = make_options(TrainOptions, {**RECIPES["dig_nano"].train, "name": "by_hand"}).architecture
    save_file(build_dig(20, **architecture, feature_channels=8).state_dict(), Path("experiment/by_hand/ckpt/019net_trm.pth"))
    predict.main(f"{image_of(root)} --name by_hand --exp dig_nano --labels dog --device cpu".split())
    assert sorted(path.name for path in Path("predictions").iterdir()) == files("dog")


def test_the_command_ends_with_code_2_and_one_line_after_the_others_were_done(root, tmp_path, monkeypatch, capsys):
    args = line(root, f"{tmp_path}/nowhere.jpg {image_of(root)}", f"--labels dog --out {tmp_path}/out")
    monkeypatch.setattr(sys, "argv", ["predict.py", *args])
    with pytest.raises(SystemExit) as stop:
        run_script(predict.main)
    output, errors = capsys.readouterr()
    assert stop.value.code == 2
    assert errors == f"error: 1 of 2 images cannot be used: {tmp_path}/nowhere.jpg is missing; all others are done\n"
    assert f"{DOG}.jpg: dog -> " in output
    assert (tmp_path / "out" / f"{DOG}.png").exists()


def test_values_without_a_flag_are_shown_and_read_as_such():
    @dataclass(frozen=True, kw_only=True)
    class Options:
        files: tuple[str, ...] = option(..., "what to read", positional=True)
        batch_size: int = option(1, "how many")

    options = parse_options(Options, ["a", "b", "--batch_size", "3"], "script.py", "")
    assert (options.files, options.batch_size) == (("a", "b"), 3)
    assert [spelling(f) for f in Options.__dataclass_fields__.values()] == ["FILES", "--batch-size"]
    assert "FILES [FILES ...]" in build_parser(Options, "script.py", "").format_help()


def test_the_classes_shown_where_a_label_is_unknown_are_the_runs(root):
    with pytest.raises(InputError, match=f"knows {', '.join(VOC_CLASSES)}"):
        predict.main(line(root, "a.jpg", "--labels wolf"))
