"""The commands of the README as they stand, on tiny data, with flags after them that make networks and runs small."""

import importlib
import re
import shlex
import shutil

import pytest

from tests.helpers import ROOT
from tests.helpers.small_runs import SMALL
from tests.helpers.toy_data import make_toy_coco, make_toy_folder, make_toy_voc

pytestmark = pytest.mark.end_to_end

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
NETWORK = SMALL.replace("--exp dig_nano ", "") + " --vit-weights none --val-from 99"
CPU = "--device cpu --num_workers 0"
DENOISER = f"--steps 2 --num-samples 1 --batch-size 2 --dim 8 --image-size 32 {CPU}"
SMALLER = {
    "voc": {"train_trm.py": f"{NETWORK} --train-list train --epochs 1", "infer_trm.py": f"{CPU} --load-epo 0"},
    "coco": {
        "train_diffusion.py": DENOISER,
        "train_trm_coco.py": NETWORK.replace("--diffusion-weights random", "") + " --val-list train2014 --epochs 1",
        "infer_trm.py": f"{CPU} --load-epo 0",
    },
    "own": {"train_diffusion.py": DENOISER, "train_trm.py": f"{NETWORK} --epochs 1", "infer_trm.py": CPU},
}
"""Flags by the name of the experiment and the script."""


def commands(name: str) -> list[list[str]]:
    """What follows `python` in the first block of commands that has an experiment of that name."""
    blocks = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    block = next(block for block in blocks if f"--name {name} " in block)
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines() if line.startswith("python ")]


def run(args: list[str], smaller: dict[str, str]) -> None:
    """Runs a command in this process."""
    module, flags = (args[1], args[2:]) if args[0] == "-m" else (args[0].removesuffix(".py"), args[1:])
    importlib.import_module(module).main([*flags, *smaller.get(args[0], "").split()])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty checkout, which the commands run in."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_voc(folder):
    make_toy_voc(folder / "data" / "VOC2012")
    for args in commands("voc"):
        run(args, SMALLER["voc"])
    assert (folder / "experiment" / "voc" / "evaluation.json").exists()


def test_coco(folder):
    make_toy_coco(folder / "data" / "COCO2014")
    for args in commands("coco"):
        run(args, SMALLER["coco"])
    assert (folder / "experiment" / "coco" / "evaluation.json").exists()


def test_own_images_from_the_command_line_and_from_python(folder):
    own = make_toy_folder(folder / "data" / "own")
    for args in commands("own"):
        run(args, SMALLER["own"])
    images = sorted((own / "images").iterdir())
    masks = sorted(path.stem for path in (folder / "experiment" / "own" / "png").iterdir())
    assert masks == sorted(path.stem for path in images)

    shutil.copy(images[0], folder / "dog.jpg")
    shutil.copytree(own / "images", folder / "my_folder")
    python = next(block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "load_cam_model" in block)
    names: dict[str, object] = {}
    exec(python, names)
    assert names["mask"].shape == names["cams"].popitem()[1].shape
    predict = re.search(r"`python (predict\.py [^`]+--name own)`", TEXT)
    assert predict is not None
    run(shlex.split(predict[1]), {"predict.py": "--device cpu"})
    assert (folder / "predictions" / "predictions.json").exists()
