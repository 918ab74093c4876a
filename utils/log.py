"""The log of a run (terminal, log.txt, TensorBoard), and progress bars."""

import contextlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tqdm import tqdm

if TYPE_CHECKING:
    import numpy as np
    from torch.utils.tensorboard import SummaryWriter

T = TypeVar("T")


def progress(iterable: Iterable[T], description: str, total: int | None = None, shown: bool = True) -> tqdm:
    """A progress bar; hidden if `shown` is false or standard error is no terminal."""
    disable = None if shown else True  # None leaves it to tqdm
    return tqdm(iterable, desc=description, total=total, disable=disable, dynamic_ncols=True, leave=False)


class TerminalHandler(logging.Handler):
    """Prints without breaking a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one line."""
        tqdm.write(self.format(record))


class LogFile(logging.FileHandler):
    """log.txt; if it cannot be written, for example because the disk is full, the run goes on without it."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Called by logging if a line could not be written; ignores the error."""

    def close(self) -> None:
        """Closes the file; ignores an error, so that the last lines may be lost."""
        with contextlib.suppress(OSError):
            super().close()


class RunLog:
    """Log of one experiment.

    Args:
        folder: the experiment's folder, for `log.txt` and the TensorBoard events.
        silent: neither prints nor writes; for all processes but the main one.
    """

    def __init__(self, folder: Path, silent: bool = False):
        self.folder = folder
        self.silent = silent
        self.logger = logging.Logger(str(folder), logging.INFO)
        self.writer: SummaryWriter | None = None
        if silent:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for handler, form in (
            (TerminalHandler(), "%(message)s"),
            (LogFile(folder / "log.txt", encoding="utf-8"), "%(asctime)s %(message)s"),
        ):
            handler.setFormatter(logging.Formatter(form))
            self.logger.addHandler(handler)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: object) -> None:
        if self.silent:
            return
        if error is not None:
            self.logger.handlers[-1].handle(
                self.logger.makeRecord("", logging.ERROR, "", 0, f"stopped: {error!r}", (), None)
            )
        if self.writer is not None:
            with contextlib.suppress(OSError):
                self.writer.close()
        for handler in self.logger.handlers:
            handler.close()

    def info(self, message: str) -> None:
        """Logs one line to the terminal and to log.txt."""
        self.logger.info(message)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Logs values by name to TensorBoard."""
        if not self.silent:
            for name, value in values.items():
                self.events(step).add_scalar(name, value, step)

    def pictures(self, pictures: Mapping[str, "np.ndarray"], step: int) -> None:
        """Logs pictures by name, (H, W, 3) uint8, to TensorBoard."""
        if not self.silent:
            for name, picture in pictures.items():
                self.events(step).add_image(name, picture, step, dataformats="HWC")

    def events(self, step: int) -> "SummaryWriter":
        """The TensorBoard writer, created when it is first needed."""
        if self.writer is None:
            # Imported here, because it takes a second and scoring does not need it.
            from torch.utils.tensorboard import SummaryWriter

            # Hides values that a killed run wrote for this and later steps.
            self.writer = SummaryWriter(str(self.folder), purge_step=step)
        return self.writer
