"""Benchmarks of two commits: what moved by more than the noise."""

import json

import pytest

from benchmarks import compare
from utils.errors import InputError


@pytest.fixture
def commits(monkeypatch):
    """Ratios of the commits `old` and `new`, which a test fills."""
    ratios = {"old": {}, "new": {}}
    monkeypatch.setattr(compare, "read_ratios", ratios.__getitem__)
    return ratios


def test_more_than_the_noise_is_slower_and_the_status_is_1(commits, capsys):
    commits["old"].update({"a step": [10.0, 10.1, 10.2], "scoring": [5.0, 5.0, 5.0]})
    commits["new"].update({"a step": [12.0, 12.1, 12.0], "scoring": [4.0, 4.0, 4.0]})
    with pytest.raises(SystemExit) as ended:
        compare.main(["old", "new"])
    assert ended.value.code == 1
    rows = capsys.readouterr().out.splitlines()
    assert rows[1].split() == ["10.100", "12.000", "+18.8%", "1.0%", "slower", "a", "step"]
    assert rows[2].split() == ["5.000", "4.000", "-20.0%", "0.0%", "faster", "scoring"]


def test_less_than_the_noise_is_nothing(commits, capsys):
    commits["old"]["a step"] = [8.0, 10.0, 10.5]
    commits["new"]["a step"] = [11.9, 11.0, 11.0]
    compare.main(["old", "new"])
    assert "slower" not in capsys.readouterr().out


def test_benchmarks_of_one_commit_are_named(commits, capsys):
    commits["old"]["before"] = commits["new"]["since"] = [1.0]
    compare.main(["old", "new"])
    assert capsys.readouterr().out.splitlines()[1:] == ["not in the old: since", "not in the new: before"]


def test_a_commit_that_is_not_there_is_one_line():
    with pytest.raises(InputError, match=r"docs/performance\.json of no-commit is not there: fatal: .*"):
        compare.read_ratios("no-commit")


@pytest.mark.parametrize("content", ["[", "[]", '{"ratios": {"a": 1}}', '{"ratios": {"a": []}}', '{"ratios": {"a": [-1]}}'])
def test_a_damaged_file_is_one_line(tmp_path, monkeypatch, content):
    monkeypatch.setattr(compare, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / compare.RATIOS).write_text(content)
    with pytest.raises(InputError, match=r"^docs/performance\.json cannot be read: "):
        compare.read_ratios("")


def test_the_file_as_it_is_can_be_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / compare.RATIOS).write_text(json.dumps({"machine": "any", "ratios": {"a step": [2, 3.5]}}))
    assert compare.read_ratios("") == {"a step": [2.0, 3.5]}
