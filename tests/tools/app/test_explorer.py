"""What the page answers: the masks of `predict.py`, at once when a slider moves, to each visitor alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_masks

from models import CamModel, load_cam_model
from tests.helpers.toy_data import make_toy_voc
from tests.helpers.trained import make_run
from tools.app.downloads import KINDS
from tools.app.explorer import CAMS, CRF, SEGMENTS, WELCOME, Explorer
from tools.app.figures import outlined_mask, parts_of
from tools.app.photograph import VIEW_SIDE, Photograph, crf_mask
from tools.app.uploads import Limits
from utils.cams.crf import refine, require_crf
from utils.cams.masks import read_mask
from utils.cams.pseudo_masks import score_mask, threshold_mask
from utils.errors import InputError

THRESHOLD, ALPHA = 0.3, 4.0


def crf_is_there() -> bool:
    try:
        require_crf()
    except InputError:
        return False
    return True


class Halves:
    """A segmentation network that sees a dog on the left."""

    classes = ("cat", "dog")

    def mask(self, image: Image.Image) -> np.ndarray:
        mask = np.zeros((image.height, image.width), np.uint8)
        mask[:, : image.width // 2] = 2
        return mask


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("explorer")
    make_run(root, make_toy_voc(root / "VOC2012"))
    pixels = np.random.default_rng(0).integers(0, 256, (36, 60, 3), np.uint8)
    Image.fromarray(pixels).save(root / "small.png")
    Image.fromarray(pixels).resize((700, 420)).save(root / "dog.png")
    return root


@pytest.fixture(scope="module")
def model(root) -> CamModel:
    return load_cam_model(root / "run", device="cpu", infer_size=32)


@pytest.fixture(scope="module")
def explorer(model) -> Explorer:
    return Explorer(model, Halves(), Limits(40, 30), crf_is_there())


@pytest.fixture(scope="module")
def photograph(explorer, root) -> Photograph:
    photograph, why = explorer.open(str(root / "dog.png"))
    assert photograph is not None, why
    return photograph


def test_a_view_is_small_and_the_photograph_stays(photograph):
    assert max(photograph.view.shape) == VIEW_SIDE
    assert photograph.shape == (420, 700)


def test_a_downloaded_mask_is_that_of_the_model(explorer, photograph, model, root, tmp_path):
    cams, _ = explorer.choose(photograph, ["dog", "cat"], 0.5)
    path = explorer.download(photograph, cams, CAMS, "PNG", THRESHOLD, ALPHA, tmp_path)
    indices = model.indices_of(("dog", "cat"))
    theirs = model.cam(root / "dog.png", ["dog", "cat"])
    expected = threshold_mask({indices[name]: cam for name, cam in theirs.items()}, (420, 700), (THRESHOLD,))
    np.testing.assert_array_equal(read_mask(path, (420, 700), 20), expected)
    assert path.name == "dog.png"


def test_polygons_cover_what_the_mask_covers(explorer, photograph, tmp_path):
    cams, _ = explorer.choose(photograph, ["dog"], 0.5)
    mask, _ = explorer.full_mask(photograph, list(cams), CAMS, THRESHOLD, ALPHA)
    content = json.loads(explorer.download(photograph, cams, CAMS, "COCO", THRESHOLD, ALPHA, tmp_path).read_text())
    assert content["images"] == [{"id": 1, "file_name": "dog.png", "width": 700, "height": 420}]
    assert {content["categories"][a["category_id"] - 1]["name"] for a in content["annotations"]} == {"dog"}
    regions = [coco_masks.merge(coco_masks.frPyObjects(a["segmentation"], 420, 700)) for a in content["annotations"]]
    covered = coco_masks.decode(coco_masks.merge(regions))
    assert (covered != (mask > 0)).mean() < 0.01


def test_labelme_finds_the_photograph_beside_its_document(explorer, photograph, tmp_path):
    cams, _ = explorer.choose(photograph, ["dog"], 0.5)
    content = json.loads(explorer.download(photograph, cams, CAMS, "labelme", THRESHOLD, ALPHA, tmp_path).read_text())
    assert (content["imagePath"], content["imageWidth"], content["imageHeight"]) == ("dog.png", 700, 420)
    assert {shape["label"] for shape in content["shapes"]} == {"dog"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_without_a_class_can_be_downloaded(explorer, photograph, tmp_path, kind):
    cams, _ = explorer.choose(photograph, [], 1.0)
    assert explorer.download(photograph, cams, CAMS, kind, THRESHOLD, ALPHA, tmp_path).stat().st_size > 0


def test_the_segmentation_networks_mask_has_its_own_classes(explorer, photograph, tmp_path):
    assert explorer.sources[-1] == SEGMENTS
    assert ">dog</b> 50 %" in explorer.segments_figure(photograph)
    path = explorer.download(photograph, {}, SEGMENTS, "PNG", THRESHOLD, ALPHA, tmp_path)
    np.testing.assert_array_equal(read_mask(path, None, 2), Halves().mask(photograph.image))


def test_classes_are_those_named_or_else_those_found(explorer, photograph, model):
    probabilities = dict(zip(model.classes, photograph.probabilities, strict=True))
    best = max(probabilities, key=probabilities.get)
    cams, words = explorer.choose(photograph, [], probabilities[best])
    assert list(cams) == [model.classes.index(best)]
    assert words == f"dog.png, 700 x 420 pixels. The network finds {best} {probabilities[best]:.2f}."
    assert list(explorer.choose(photograph, ["sofa", "sofa", "unicorn"], 0.5)[0]) == [model.classes.index("sofa")]
    cams, words = explorer.choose(photograph, [], 1.0)
    assert cams == {}
    assert words.endswith(f"no class with a probability of 1 or more; {best} is nearest with {probabilities[best]:.2f}.")


def test_the_network_sees_a_photograph_once(root, model):
    class Counted:
        classes, white, seen = model.classes, 0.0, 0

        def predict(self, image):
            self.seen += 1
            return model.predict(image)

    counted = Counted()
    explorer = Explorer(counted, None, Limits(40, 30), False)
    photograph, _ = explorer.open(str(root / "dog.png"))
    for value in np.linspace(0, 1, 5).tolist():
        explorer.answer(photograph, "", ["dog"], value, value, 1 + value)
        cams, _ = explorer.choose(photograph, [], value)
        explorer.cam_figures(photograph, cams, value)
    assert counted.seen == 1


def test_without_a_photograph_there_is_nothing_but_a_line(explorer):
    answer = explorer.answer(None, "", ["dog"], 0.5, THRESHOLD, ALPHA)
    assert WELCOME in answer.message
    assert {*answer[3:]} == {""}
    assert "is &lt;b&gt; bad" in explorer.answer(None, "is <b> bad", [], 0.5, THRESHOLD, ALPHA).message


@pytest.mark.skipif(not crf_is_there(), reason="pydensecrf2 is not installed")
def test_at_full_size_the_crf_is_the_usual_one(explorer, root):
    photograph, _ = explorer.open(str(root / "small.png"))
    mask, _ = explorer.full_mask(photograph, [11], CRF, THRESHOLD, ALPHA)
    scores = refine(np.asarray(photograph.image), photograph.cams([11], photograph.shape), ALPHA)
    np.testing.assert_array_equal(mask, score_mask([scores]))


@pytest.mark.skipif(not crf_is_there(), reason="pydensecrf2 is not installed")
def test_a_larger_exponent_leaves_less_background(photograph):
    cams = photograph.cams([11], photograph.view.shape[:2])
    few, many = (crf_mask(photograph.view, cams, alpha, 96, 700) for alpha in (0.5, 16))
    assert few.shape == photograph.view.shape[:2]
    assert (few == 0).sum() > (many == 0).sum()


def test_a_legend_has_the_largest_class_first():
    mask = np.array([[0, 0, 1, 2], [2, 2, 2, 2]], np.uint8)
    assert [(part.name, part.share) for part in parts_of(mask, ("cat", "dog"))] == [("dog", 0.625), ("cat", 0.125)]


def test_a_mask_leaves_the_background_as_it_is():
    image, mask = np.full((9, 9, 3), 100, np.uint8), np.zeros((9, 9), np.uint8)
    mask[:, :4] = 12
    picture = outlined_mask(image, mask)
    assert (picture[:, 6:] == 100).all()
    assert (picture[:, :2] != 100).any(2).all()
