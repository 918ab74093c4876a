"""Locks: one writer or several readers, released however a process ends."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.helpers import ROOT
from tests.helpers.locked import HOLD, held_elsewhere
from utils.errors import InputError
from utils.machine import locks
from utils.machine.locks import lock_file, reading, writing


def take(target: Path, patience: float = 0.0) -> None:
    with writing(target, patience=patience):
        pass


def owner(target: Path) -> int:
    """The process that has locked a target last."""
    return json.loads(lock_file(target).read_text())["process"]


def test_the_second_writer_is_told_who_the_first_one_is(tmp_path):
    with held_elsewhere(tmp_path / "run") as process:
        first = (
            rf"process {process.pid} on {re.escape(os.uname().nodename)} since \d+-\d\d-\d\d .*: wait for its end or stop it"
        )
        with pytest.raises(InputError, match=rf"run is in use by {first}"):
            take(tmp_path / "run")
    take(tmp_path / "run")


def test_another_folder_is_free(tmp_path):
    with held_elsewhere(tmp_path / "run"):
        take(tmp_path / "other")
    assert owner(tmp_path / "other") == os.getpid()


def test_two_names_of_a_folder_have_one_lock(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with held_elsewhere(tmp_path / "run"), pytest.raises(InputError, match="link is in use by process"):
        take(tmp_path / "link")


def test_a_killed_process_has_no_lock_even_if_its_children_live(tmp_path):
    child = "import os; os.fork() or (print('child', os.getpid(), flush=True), time.sleep(60))"
    with held_elsewhere(tmp_path / "run", then=child) as process:
        assert process.stdout.readline().startswith("child")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        take(tmp_path / "run")


def test_a_process_that_is_about_to_end_is_waited_for(tmp_path):
    with held_elsewhere(tmp_path / "run", then="sys.stdin.read(); time.sleep(1)") as process:
        process.stdin.close()
        started = time.monotonic()
        take(tmp_path / "run", patience=20.0)
        assert time.monotonic() - started > 0.5
    assert owner(tmp_path / "run") == os.getpid()


def test_readers_share_and_keep_writers_out(tmp_path):
    take(tmp_path / "dict")
    with held_elsewhere(tmp_path / "dict", "reading"):
        with reading(tmp_path / "dict"):
            pass
        with pytest.raises(InputError, match="dict is in use by"):
            take(tmp_path / "dict")


def test_a_writer_keeps_readers_out(tmp_path):
    with (
        held_elsewhere(tmp_path / "dict"),
        pytest.raises(InputError, match=r"dict is in use by process \d+"),
        reading(tmp_path / "dict", patience=0),
    ):
        pass


def test_reading_what_no_command_has_written_leaves_no_trace(tmp_path):
    (tmp_path / "dict").mkdir()
    with reading(tmp_path / "dict"):
        assert [path.name for path in tmp_path.iterdir()] == ["dict"]


def test_reading_what_others_keep_to_themselves_goes_on(tmp_path, monkeypatch):
    take(tmp_path / "dict")
    asked = []

    def refuse(path: str, *_: object) -> int:
        asked.append(Path(path))
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(locks.os, "open", refuse)
    with reading(tmp_path / "dict"):
        assert locks.held == set()
    assert asked == [lock_file(tmp_path / "dict")]


def test_one_process_does_not_lock_a_folder_twice(tmp_path):
    with writing(tmp_path / "run"):
        with pytest.raises(InputError, match="run is in use by this process already"):
            take(tmp_path / "run")
        with held_elsewhere(tmp_path / "other"):  # and the first lock is still there
            pass
        code = HOLD.format(kind="writing", then="pass").replace("[1]))", "[1]), patience=0)")
        result = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "run")], cwd=ROOT, capture_output=True, text=True
        )
        assert "is in use by process" in result.stderr


def test_a_lock_that_cannot_be_had_gives_the_others_back(tmp_path):
    with held_elsewhere(tmp_path / "b"):
        with pytest.raises(InputError, match="b is in use"), writing(tmp_path / "a", tmp_path / "b", patience=0):
            pass
        with held_elsewhere(tmp_path / "a"):
            pass


def test_a_file_system_without_locks_is_told_and_does_not_stop_a_run(tmp_path, monkeypatch, capsys):
    def unknown(file, exclusive: bool) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "lock", unknown)
    with writing(tmp_path / "run") as taken:
        taken[0].share()
    assert capsys.readouterr().err == (
        f"warning: {tmp_path}/run is on a file system without locks: nothing keeps a second run from writing to it\n"
    )


def test_windows_locks_a_byte_that_readers_of_the_file_do_not_need(tmp_path, monkeypatch):
    calls = []

    def locking(descriptor: int, mode: int, count: int) -> None:
        calls.append((os.lseek(descriptor, 0, os.SEEK_CUR), mode, count))
        if len(calls) > 1:
            raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(locks, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    with writing(tmp_path / "run"):
        locks.held.clear()  # as another process has it
        with pytest.raises(InputError, match=r"run is in use by process \d+"):
            take(tmp_path / "run")
    assert calls == [(locks.WINDOWS_BYTE, 2, 1)] * 2


def test_a_damaged_lock_file_names_no_process(tmp_path):
    with held_elsewhere(tmp_path / "run"):
        lock_file(tmp_path / "run").write_text(json.dumps([1]))
        with pytest.raises(InputError, match="run is in use by another process: wait"):
            take(tmp_path / "run")
