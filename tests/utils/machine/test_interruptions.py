"""Signals and the clock, between two steps of a loop."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.helpers import ROOT
from utils.errors import InputError, Stopped, run_script
from utils.machine.interruptions import NOTHING, SAVE, Interruptions


def test_without_signal_or_time_there_is_no_request():
    with Interruptions() as interruptions:
        assert interruptions.request() == NOTHING


def test_after_some_minutes_the_request_is_to_save_once(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    interruptions = Interruptions(minutes=2)
    now = 219.0
    assert interruptions.request() == NOTHING
    now = 220.0
    assert interruptions.request() == SAVE
    interruptions.has_saved()
    assert interruptions.request() == NOTHING


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_request_to_stop_and_ends_nothing_by_itself(number):
    with Interruptions() as interruptions:
        os.kill(os.getpid(), number)
        assert interruptions.request() == number > SAVE


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with Interruptions():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def break_after_a_signal(error: Exception) -> None:
    with Interruptions():
        os.kill(os.getpid(), signal.SIGTERM)
        raise error


def test_what_breaks_after_a_signal_is_part_of_the_stop():
    with pytest.raises(Stopped, match="stopped by SIGTERM"):
        break_after_a_signal(RuntimeError("the other process is gone"))


def test_wrong_input_is_told_even_after_a_signal():
    with pytest.raises(InputError, match="loss is nan"):
        break_after_a_signal(InputError("loss is nan"))


def test_what_breaks_without_a_signal_is_what_it_is():
    with pytest.raises(RuntimeError, match="no signal"), Interruptions():
        raise RuntimeError("no signal")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_has_the_exit_code_of_its_signal(monkeypatch, capsys, number, code):
    def stop(args: list[str]) -> None:
        raise Stopped(number)

    monkeypatch.setattr(sys, "argv", ["script.py"])
    with pytest.raises(SystemExit) as end:
        run_script(stop)
    assert end.value.code == code
    assert capsys.readouterr().err == f"stopped by {signal.Signals(number).name}\n"


def test_signals_that_come_together_are_one_and_a_later_one_ends_the_process():
    code = (
        "import signal, sys, time, utils.machine.interruptions as i\n"
        "i.SAME_REQUEST_SECONDS = 0.2\n"
        "with i.Interruptions() as interruptions:\n"
        "    for _ in range(3): signal.raise_signal(signal.SIGTERM)\n"
        "    print('alive', interruptions.request(), flush=True)\n"
        "    time.sleep(0.3)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    print('still alive')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == "alive 15\n"
    assert result.returncode == -signal.SIGTERM
