"""A trained network from Python: the same CAMs as inference, and every kind of image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import infer_trm
from datasets.labels.classes import VOC_CLASSES
from models import CamModel, load_cam_model
from tests.helpers.toy_data import make_toy_voc
from tests.helpers.trained import make_run
from utils.errors import InputError
from utils.experiment.folder import epoch_file
from utils.scoring.best_threshold import write_best
from utils.scoring.metrics import label_map

IMAGE = "2007_000001"  # a dog and a sofa


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> tuple[Path, Path]:
    """An experiment of two epochs, and the images of its data set."""
    root = tmp_path_factory.mktemp("model")
    data = make_toy_voc(root / "VOC2012")
    return make_run(root, data, infer_size=48, epochs=2), data / "JPEGImages"


@pytest.fixture(scope="module")
def model(experiment) -> CamModel:
    return load_cam_model(experiment[0], device="cpu")


def file_of(experiment: tuple[Path, Path]) -> Path:
    return experiment[1] / f"{IMAGE}.jpg"


@pytest.mark.parametrize("infer_size", [0, 48])
def test_cams_are_to_the_bit_those_of_inference(tmp_path, toy_voc, infer_size):
    folder = make_run(tmp_path, toy_voc, infer_size)
    infer_trm.main(f"--name run --experiments {tmp_path} --device cpu --num_workers 0 --dict".split())
    model = load_cam_model(folder, device="cpu")
    paths = [*(folder / "dict").glob("*.npy")]
    assert paths
    for path in paths:
        cams = np.load(path, allow_pickle=True).item()
        ours = model.cam(toy_voc / "JPEGImages" / f"{path.stem}.jpg", [model.classes[c] for c in reversed(cams)])
        assert list(ours) == [model.classes[c] for c in reversed(cams)]
        assert all(np.array_equal(ours[model.classes[c]], cam) for c, cam in cams.items())


def test_cams_have_the_size_of_the_image_and_lie_in_0_to_1(model, experiment):
    width, height = Image.open(file_of(experiment)).size
    for cam in model.cam(file_of(experiment), ["dog", "sofa"]).values():
        assert (cam.shape, cam.dtype) == ((height, width), np.float32)
        assert cam.min() == 0
        assert 0.5 < cam.max() < 1


def test_without_labels_every_class_gets_a_cam(model, experiment):
    assert tuple(model.cam(file_of(experiment))) == model.classes == VOC_CLASSES


def test_one_label_may_stand_alone(model, experiment):
    assert list(model.cam(file_of(experiment), "dog")) == ["dog"]


def test_an_unknown_label_is_refused_with_the_classes(model, experiment):
    with pytest.raises(InputError, match=r"'wolf' is no class of .*001net_trm\.pth, which knows aeroplane, .*, tvmonitor"):
        model.cam(file_of(experiment), ["dog", "wolf"])


def test_every_kind_of_image_gives_the_same_cam(model, experiment):
    expected = model.cam(file_of(experiment), "dog")["dog"]
    picture = Image.open(file_of(experiment)).convert("RGB")
    tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    with file_of(experiment).open("rb") as file:
        for image in (str(file_of(experiment)), file, picture, np.array(picture), tensor, tensor / 255):
            np.testing.assert_array_equal(model.cam(image, "dog")["dog"], expected)


@pytest.mark.parametrize("image", [np.zeros((9, 9, 5), np.uint8), torch.full((3, 9, 9), 255.0), None, "nowhere.jpg"])
def test_what_is_no_image_is_refused(model, image):
    with pytest.raises(InputError, match=r"an image is |the image has |nowhere\.jpg is missing"):
        model.cam(image, "dog")


def test_a_mask_is_that_of_the_cams_of_its_labels(model, experiment):
    cams = model.cam(file_of(experiment), ["dog", "sofa"])
    scores = {0: np.full(cams["dog"].shape, 0.3, np.float32), 12: cams["dog"], 18: cams["sofa"]}
    mask = model.mask(file_of(experiment), ["dog", "sofa"], background=0.3)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, label_map(scores))
    assert set(np.unique(model.mask(file_of(experiment), "dog"))) <= {0, 12}


def test_a_mask_without_labels_is_of_what_the_network_finds(model, experiment):
    threshold = sorted(model.probabilities(file_of(experiment)).values())[-2]
    names = tuple(model.found(file_of(experiment), threshold)[1])
    assert len(names) == 2
    np.testing.assert_array_equal(
        model.mask(file_of(experiment), threshold=threshold), model.mask(file_of(experiment), names)
    )
    assert not model.mask(file_of(experiment), threshold=1.0).any()


def test_masks_are_those_of_the_images_one_by_one(model, experiment):
    paths = sorted(experiment[1].iterdir())[:3]
    for mask, path in zip(model.masks(paths, "dog"), paths, strict=True):
        np.testing.assert_array_equal(mask, model.mask(path, "dog"))


def test_the_background_score_is_the_experiments_best(tmp_path, toy_voc):
    folder = make_run(tmp_path, toy_voc)
    assert load_cam_model(folder, device="cpu").background == 0.4
    write_best(folder / "dict", 0.27, 50.0, "val", toy_voc, {})
    model = load_cam_model(folder, device="cpu")
    image = toy_voc / "JPEGImages" / f"{IMAGE}.jpg"
    np.testing.assert_array_equal(model.mask(image, "dog"), model.mask(image, "dog", background=0.27))


def test_the_best_threshold_of_other_weights_is_not_the_networks(tmp_path, toy_voc):
    folder = make_run(tmp_path, toy_voc)
    write_best(folder / "dict", 0.27, 50.0, "val", toy_voc, {"weights": "of another epoch"})
    assert load_cam_model(folder, device="cpu").background == 0.4


def test_the_best_threshold_of_other_settings_is_not_the_networks(tmp_path, toy_voc):
    folder = make_run(tmp_path, toy_voc)
    for scales, background in (([1.0], 0.27), ([0.5, 1.0], 0.4)):
        write_best(folder / "dict", 0.27, 50.0, "val", toy_voc, {"infer_size": 0, "scales": scales})
        assert load_cam_model(folder, device="cpu").background == background


def test_an_image_smaller_than_a_patch_is_refused_by_name(experiment, tmp_path, toy_voc):
    Image.new("RGB", (20, 7)).save(tmp_path / "low.png")
    model = load_cam_model(make_run(tmp_path, toy_voc), device="cpu")
    with pytest.raises(InputError, match=r"low\.png is 20 x 7 pixels, smaller than one patch of 8"):
        model.cam(tmp_path / "low.png", "dog")


def test_probabilities_are_the_sigmoid_of_the_mean_logit_of_image_and_mirror(experiment, tmp_path, toy_voc):
    from models import imagenet_normalize

    model = load_cam_model(make_run(tmp_path, toy_voc), device="cpu")
    image01 = torch.from_numpy(np.array(Image.open(file_of(experiment)))).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        outputs = [model.net(imagenet_normalize(x)) for x in (image01, image01.flip(-1))]
    logits = torch.stack([kind[0] for output in outputs for kind in (output.cls_logits, output.patch_logits)])
    ours = model.probabilities(file_of(experiment))
    assert tuple(ours) == VOC_CLASSES
    torch.testing.assert_close(torch.tensor([*ours.values()]), logits.mean(0).sigmoid())


def test_what_is_found_is_what_is_probable(model, experiment):
    probabilities = model.probabilities(file_of(experiment))
    threshold = sorted(probabilities.values())[10]
    cams, found = model.found(file_of(experiment), threshold)
    assert found == {name: p for name, p in probabilities.items() if p >= threshold}
    assert len(found) == 10
    for name, cam in model.cam(file_of(experiment), tuple(found)).items():
        np.testing.assert_array_equal(cams[name], cam)


def test_bfloat16_gives_nearly_the_same_cams(model, experiment):
    half = load_cam_model(experiment[0], device="cpu", amp="bf16")
    found, expected = (m.cam(file_of(experiment), "dog")["dog"] for m in (half, model))
    assert 0 < np.abs(found - expected).mean() < 0.03


def test_an_epoch_or_a_file_can_be_chosen(experiment, tmp_path):
    folder, _ = experiment
    last, first = (load_cam_model(folder, epoch, device="cpu") for epoch in (None, 0))
    copy = tmp_path / "weights.pth"
    copy.write_bytes(epoch_file(folder, 0).read_bytes())
    named = load_cam_model(folder, weights=copy, device="cpu")
    cams = [m.cam(file_of(experiment), "dog")["dog"] for m in (last, first, named)]
    assert (last.weights, named.weights) == (epoch_file(folder, 1), copy)
    assert not np.array_equal(cams[0], cams[1])
    np.testing.assert_array_equal(cams[1], cams[2])


def test_weights_without_a_run_take_names_and_recipe_from_the_caller(experiment, tmp_path):
    folder, _ = experiment
    by_hand = tmp_path / "by_hand"
    (by_hand / "ckpt").mkdir(parents=True)
    epoch_file(by_hand, 3).write_bytes(epoch_file(folder, 1).read_bytes())
    with pytest.raises(InputError, match=r"options\.json is missing, so that names of the classes are needed"):
        load_cam_model(by_hand, device="cpu")
    with pytest.raises(InputError, match=r"003net_trm\.pth does not fit the network"):
        load_cam_model(by_hand, device="cpu", exp="dig_nano", classes=VOC_CLASSES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epoch": 7}, r"007net_trm\.pth is missing\. Train first"),
        ({"weights": "nowhere.pth"}, r"nowhere\.pth is missing"),
        ({"amp": "fp8"}, "amp must be one of off, bf16, fp16, got 'fp8'"),
        ({"device": "tpu"}, "device must be one of auto, cuda, cuda:N, mps and cpu, got 'tpu'"),
        ({"device": "cuda:x"}, "device must be one of auto, cuda, cuda:N, mps and cpu, got 'cuda:x'"),
        ({"device": "cuda:1"}, "--device cuda:1: PyTorch finds no such device here; it finds cpu"),
        ({"device": torch.device("cuda", 1)}, "--device cuda:1: PyTorch finds no such device here; it finds cpu"),
    ],
)
def test_what_cannot_be_loaded_is_refused(experiment, arguments, message):
    with pytest.raises(InputError, match=message):
        load_cam_model(experiment[0], **{"device": "cpu", **arguments})


def test_a_device_of_pytorchs_is_one_too(experiment):
    assert load_cam_model(experiment[0], device=torch.device("cpu")).precision.device == torch.device("cpu")


def test_an_empty_experiment_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no <epoch>net_trm\.pth; train first"):
        load_cam_model(tmp_path, device="cpu")
