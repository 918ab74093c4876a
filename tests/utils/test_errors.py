"""Exit codes and messages of the scripts."""

import sys

import pytest

from utils.errors import InputError, run_script


def run(monkeypatch, main, *args: str) -> None:
    monkeypatch.setattr(sys, "argv", ["script.py", *args])
    run_script(main)


def refuse(args: list[str]) -> None:
    raise InputError("--epochs must be at least 1")


def interrupt(args: list[str]) -> None:
    raise KeyboardInterrupt


def test_main_receives_the_command_line(monkeypatch):
    seen = []
    run(monkeypatch, seen.extend, "--name", "run")
    assert seen == ["--name", "run"]


def test_debug_is_kept_from_main(monkeypatch):
    seen = []
    run(monkeypatch, seen.extend, "--name", "run", "--debug")
    assert seen == ["--name", "run"]


def test_wrong_input_leaves_with_code_2(monkeypatch):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, refuse)
    assert stop.value.code == 2


def test_wrong_input_is_one_line_on_standard_error(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, refuse)
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "error: --epochs must be at least 1\n")


def test_debug_adds_the_traceback(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, refuse, "--debug")
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "in refuse" in error
    assert error.endswith("error: --epochs must be at least 1\n")


def test_interruption_leaves_with_code_130(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, interrupt)
    assert stop.value.code == 130
    assert capsys.readouterr().err == "stopped\n"


def test_other_errors_are_not_hidden(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        run(monkeypatch, lambda args: 1 / 0)


def test_a_loader_that_dies_while_something_is_saved_is_what_is_told(monkeypatch, capsys):
    def save(args: list[str]) -> None:
        try:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
        finally:
            raise RuntimeError("[enforce fail] . unexpected pos 1277248 vs 1277136")

    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, save)
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith("error: a process that loads images (7)")
