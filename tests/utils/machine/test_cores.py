"""Numbers of processes."""

import pytest

from utils.machine import cores


def test_at_least_one_core_is_there():
    assert cores.available_cores() >= 1


@pytest.mark.parametrize(("there", "asked", "count"), [(2, -1, 2), (64, -1, 8), (2, 5, 5), (2, 0, 0)])
def test_loaders_follow_the_cores_unless_asked(monkeypatch, there, asked, count):
    monkeypatch.setattr(cores, "available_cores", lambda: there)
    assert cores.loader_count(asked) == count
