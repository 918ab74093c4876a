"""Training where processes are spawned, as on Windows and macOS: everything that workers get must be picklable."""

import subprocess
import sys

import pytest

from tests.helpers import ROOT
from tests.helpers.small_runs import SMALL, SMALL_SEG
from tests.helpers.toy_data import make_toy_voc

RUN = """
import multiprocessing, sys
sys.path.insert(0, sys.argv[1])
if __name__ == "__main__":
    import {script}
    multiprocessing.set_start_method("spawn")
    {script}.main(sys.argv[2:])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "flags"),
    [("train_trm", f"{SMALL} --epochs 1"), ("train_seg", f"{SMALL_SEG} --epochs 1")],
    ids=["train_trm", "train_seg"],
)
def test_loaders_work_where_processes_are_spawned(tmp_path, script, flags):
    data = make_toy_voc(tmp_path / "VOC2012")
    (tmp_path / "run.py").write_text(RUN.format(script=script))
    place = f"--name run --experiments {tmp_path} --data-path {data}"
    line = f"{place} {flags} --num_workers 1"
    command = [sys.executable, str(tmp_path / "run.py"), str(ROOT), *line.split()]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "done: " in result.stdout
