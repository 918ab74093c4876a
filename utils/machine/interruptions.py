"""Being stopped: signals and the clock, heard between two steps, so that nothing is lost or half done."""

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

from ..errors import InputError, Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTHING, SAVE = 0, 1
"""Requests; a larger one is the number of the signal that asks to stop (2, 15)."""
SAME_REQUEST_SECONDS = 2.0
"""Two signals within this time are one request: Ctrl-C reaches a process from the terminal and again from its launcher."""


class Interruptions:
    """What happens to a loop from outside. A second signal ends the process at once.

    Use it as a context manager around the loop, and look at `request` after every step.

    Args:
        minutes: between two requests to save; infinite for a loop that has nothing to save.
    """

    def __init__(self, minutes: float = float("inf")):
        self.seconds = 60 * minutes
        self.signal, self.heard = NOTHING, 0.0
        self.saved = time.monotonic()
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> "Interruptions":
        # Python allows handlers in the main thread only.
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.signal(number, self.hear) for number in SIGNALS}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        if error is not None and self.signal and not isinstance(error, Stopped | InputError | KeyboardInterrupt):
            # Once a stop was asked for, other processes may be gone already: what that breaks is no news.
            raise Stopped(self.signal) from error

    def hear(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal."""
        if self.signal:
            if time.monotonic() - self.heard > SAME_REQUEST_SECONDS:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            return
        self.signal, self.heard = number, time.monotonic()

    def request(self) -> int:
        """NOTHING, SAVE, or the number of a signal, for which to save and stop."""
        return self.signal or (SAVE if time.monotonic() - self.saved >= self.seconds else NOTHING)

    def has_saved(self) -> None:
        """Starts the clock anew."""
        self.saved = time.monotonic()


def leave_process_group(worker: int) -> None:
    """Initialiser of a loader's workers: signals to the group, from a terminal or a launcher, are their parent's to handle.

    Without it they would die before the parent has saved. When the parent is gone, they end by themselves.
    """
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
