"""The shape of the code: what imports what, what importing does, and that every flag is read and documented."""

import ast
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tools.flag_tables import COMMANDS, PAGE, page

PACKAGES = ("models", "diffusion", "datasets", "utils", "tools")
SCRIPTS = tuple(command for command in COMMANDS if command.endswith(".py"))
READERS = {
    "train_affinity.py": "train_seg.py",
    "-m tools.bounds": "tools/bounds.py",
    "-m tools.crf": "tools/crf.py",
    "-m tools.masks": "tools/masks.py",
    "-m tools.polygons": "tools/polygons.py",
    "-m tools.refine": "tools/refine.py",
    "-m tools.pipeline": "tools/pipeline.py",
    "-m tools.report": "tools/report/__main__.py",
    "-m tools.animate": "tools/animate.py",
    "-m tools.tour": "tools/tour.py",
    "-m tools.denoised": "tools/denoised.py",
    "-m tools.export": "tools/export.py",
    "-m tools.app": "tools/app/__main__.py",
    "-m tools.backbones": "tools/backbones.py",
    "-m datasets.toy": "datasets/toy.py",
    "-m datasets.prepare coco": "datasets/prepare.py",
    "-m datasets.prepare voc": "datasets/prepare.py",
    "-m datasets.shards": "datasets/shards.py",
}
"""Files that read the flags of a command which is no script."""
PAGES = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(ROOT.glob("[dp]*/README.md")),
    *sorted(ROOT.glob("tests/*/README.md")),
)
"""What there is to read."""


def imported(path: Path) -> set[str]:
    """Top-level names that a file imports absolutely."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("package", ["models", "diffusion", "datasets"])
def test_networks_and_data_do_not_know_each_other(package):
    others = {"models", "diffusion", "datasets"} - {package} | {Path(script).stem for script in SCRIPTS}
    for path in (ROOT / package).rglob("*.py"):
        assert not imported(path) & others, path


def test_utils_takes_models_as_arguments():
    for path in (ROOT / "utils").rglob("*.py"):
        assert not imported(path) & {"models", "diffusion", "datasets"}, path


@pytest.mark.slow
def test_importing_models_loads_little_else():
    code = "import sys, models; print(*sys.modules); assert all(hasattr(models, name) for name in models.__all__)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert len([name for name in loaded if name.startswith("utils.")]) <= 6
    assert "segmentation_models_pytorch" not in loaded


@pytest.mark.slow
def test_importing_the_scripts_prints_and_writes_nothing(tmp_path):
    names = ", ".join(Path(script).stem for script in (*SCRIPTS, "train_trm_coco.py"))
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {names}"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_scoring_starts_without_pytorch():
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import evaluation; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_read(command):
    shared = [
        *(ROOT / "utils" / "options").rglob("*.py"),
        *(ROOT / "utils" / "experiment").rglob("*.py"),
        ROOT / "utils" / "training" / "epochs.py",
        ROOT / "utils" / "cams" / "crf.py",
    ]
    if command in ("train_trm.py", "train_seg.py"):
        shared.append(ROOT / "datasets" / "validation.py")
    readers = (ROOT / READERS.get(command, command), *shared)
    code = "".join(path.read_text() for path in readers)
    unread = [f.name for f in dataclasses.fields(COMMANDS[command]) if not re.search(rf"\b(options|self)\.{f.name}\b", code)]
    assert unread == []


def test_the_page_of_flags_lists_every_flag_as_it_is():
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tools.flag_tables`"


def test_what_the_documentation_promises_is_tested():
    promised = re.findall(r"`(test_\w+)`", (ROOT / "docs" / "what_happens_when.md").read_text(encoding="utf-8"))
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(promised) > 10
    assert [name for name in promised if f"def {name}(" not in tests] == []


def test_the_readme_is_short():
    assert (ROOT / "README.md").stat().st_size <= 10 * 1024


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            name, _, anchor = target.partition("#")
            linked = page.parent / name if name else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), target


def test_every_page_is_linked_from_the_readme():
    linked = re.findall(r"\]\((docs/\w+\.md)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert sorted(set(linked)) == sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_pages_name_exist(page):
    """Paths of code in back-quotes."""
    named = re.findall(
        r"`((?:models|diffusion|datasets|utils|tools|tests|benchmarks)/[\w/]*(?:\.py)?)`", page.read_text("utf-8")
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_pages_have_no_gaps():
    assert [str(page) for page in PAGES if "@@" in page.read_text(encoding="utf-8")] == []


def test_files_stay_short():
    long = {str(path): n for path in (*sources(), *ROOT.glob("*.py")) if (n := len(path.read_text().splitlines())) > 420}
    assert long == {}
