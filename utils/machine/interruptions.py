"""Signals, and the interval between checkpoints, handled between two steps so that no step is interrupted."""

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
"""Signals within this time count as one request: Ctrl-C reaches a process from the terminal and again from its launcher."""


class Interruptions:
    """Collects requests to save or stop for a loop. A second signal ends the process at once.

    Use it as a context manager around the loop, and check `request` after every step.

    Args:
        minutes: interval between two requests to save; infinite for a loop without checkpoints.
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
            # After a request to stop, other processes may have ended already, which causes further errors here.
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
        """Restarts the interval between checkpoints."""
        self.saved = time.monotonic()


def leave_process_group(worker: int) -> None:
    """Initialiser of a loader's workers: they leave the process group, so that only their parent gets its signals.

    Otherwise a signal from the terminal or a launcher would kill them before the parent has saved. They end by themselves
    when the parent is gone.
    """
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
