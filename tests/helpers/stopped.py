"""Runs that are stopped in the middle."""

from collections.abc import Callable

import pytest

from utils.training.engine import Training


def stop_in_second_epoch(monkeypatch: pytest.MonkeyPatch, run: Callable[[], object]) -> None:
    """Runs a training that is interrupted in the first step of its second epoch."""
    update = Training.update

    def stopping(self, *rest):
        if self.epoch:
            raise KeyboardInterrupt
        return update(self, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Training, "update", stopping)
        with pytest.raises(KeyboardInterrupt):
            run()
