"""Work in other processes: results, order, errors, and processes that end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import ROOT
from utils.errors import InputError
from utils.machine.parallel import in_background, in_parallel


def square(number: int) -> int:
    if number < 0:
        raise InputError(f"{number} is negative")
    return number**2


def leave(path: Path, text: str) -> None:
    if text == "bad":
        raise InputError(f"{text} is bad")
    if text == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    path.write_text(f"{text} {os.getpid()}")


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_the_order_of_the_tasks(workers):
    assert list(in_parallel(square, range(20), workers, "squares")) == [n**2 for n in range(20)]


def test_without_tasks_there_are_no_results():
    assert list(in_parallel(square, [], -1, "squares")) == []


def test_an_error_of_a_task_is_raised():
    with pytest.raises(InputError, match=r"^-1 is negative$"):
        list(in_parallel(square, [1, -1, 2], 2, "squares"))


@pytest.mark.parametrize("workers", [0, 2])
def test_work_in_the_background_is_done_when_the_block_ends(tmp_path, workers):
    with in_background(workers) as do:
        for i in range(15):
            do(leave, tmp_path / str(i), "done")
    texts = [(tmp_path / str(i)).read_text().split() for i in range(15)]
    assert {word for word, _ in texts} == {"done"}
    assert (str(os.getpid()) in {process for _, process in texts}) == (workers == 0)


def try_background(folder: Path, text: str) -> None:
    with in_background(2) as do:
        do(leave, folder / "file", text)


def test_an_error_in_the_background_is_raised_at_the_end_at_the_latest(tmp_path):
    with pytest.raises(InputError, match="bad is bad"):
        try_background(tmp_path, "bad")


def test_a_process_that_dies_is_told_in_a_line(tmp_path):
    with pytest.raises(InputError, match="a process died, perhaps for lack of memory: try fewer --num-workers"):
        try_background(tmp_path, "dies")


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\n"
        "from utils.machine.parallel import in_parallel\n"
        f"list(in_parallel(time.sleep, [60, 60], 2, 'sleep'))"
    )
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        pytest.skip("this system does not tell which processes a process has started")
    parent = subprocess.Popen([sys.executable, "-c", code])
    try:
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        assert comes_true(lambda: len(children.read_text().split()) == 2)
        time.sleep(0.3)  # they have been told what to do at their parent's end
        workers = children.read_text().split()
    finally:
        parent.kill()
        parent.wait()
    assert comes_true(lambda: not any(is_alive(worker) for worker in workers))


def comes_true(condition) -> bool:
    """Whether a condition comes true within ten seconds."""
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.05)
    return False


def is_alive(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
