"""The log of a run (terminal, log.txt, TensorBoard, Weights & Biases), and progress bars."""

import contextlib
import importlib.util
import logging
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from .errors import InputError
from .files import whole_file

if TYPE_CHECKING:
    import numpy as np
    from torch.utils.tensorboard import SummaryWriter

T = TypeVar("T")


def progress(iterable: Iterable[T], description: str, total: int | None = None, shown: bool = True) -> tqdm:
    """A progress bar; hidden if `shown` is false or standard error is no terminal."""
    disable = None if shown else True  # None leaves it to tqdm
    return tqdm(iterable, desc=description, total=total, disable=disable, dynamic_ncols=True, leave=False)


def wandb_file(folder: Path) -> Path:
    """The file with the id of an experiment's run at Weights & Biases, so that a resumed run continues it."""
    return folder / "wandb_id.txt"


def require_wandb(project: str) -> None:
    """Raises InputError if a project is named and wandb is not installed; it is optional."""
    if project and importlib.util.find_spec("wandb") is None:
        raise InputError("--wandb needs the package wandb: pip install -r requirements-wandb.txt")


class TerminalHandler(logging.Handler):
    """Prints without breaking a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one line, at once also into a file or a pipe."""
        tqdm.write(self.format(record))
        sys.stdout.flush()


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
        self.without_events = False  # because they could not be written
        self.wandb: Any = None  # a run of Weights & Biases, if one is asked for
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
        if self.wandb is not None:
            with self.wandb_going_on():
                self.wandb.finish(exit_code=0 if error is None else 1)
        for handler in self.logger.handlers:
            handler.close()

    def start_wandb(self, project: str, name: str, config: Mapping[str, Any]) -> None:
        """Starts to send values and pictures to Weights & Biases too, or continues the run that the folder has there.

        Args:
            project: name of the project; empty: nothing is sent.
            name: name of the run.
            config: options to show with it.

        Raises:
            InputError: wandb is not installed, or cannot start.
        """
        if self.silent or not project:
            return
        require_wandb(project)
        import wandb  # takes seconds, and is optional

        path = wandb_file(self.folder)
        run_id = path.read_text().strip() if path.exists() else secrets.token_hex(4)
        settings = wandb.Settings(console="off", silent=True)
        try:
            self.wandb = wandb.init(
                project=project,
                name=name,
                id=run_id,
                resume="allow",
                dir=str(self.folder),
                config=dict(config),
                settings=settings,
            )
            # After a kill some steps are repeated, which wandb's own count of steps would refuse.
            self.wandb.define_metric("*", step_metric="step")
        except (wandb.Error, OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"--wandb {project}: wandb cannot start: {reason}; WANDB_MODE=offline needs no account"
            ) from error
        with whole_file(path) as file:
            file.write(f"{run_id}\n".encode())
        place = Path(self.wandb.dir).parent if self.wandb.offline else self.wandb.url
        self.info(f"wandb: run {run_id} of project {project}, {place}")

    @contextlib.contextmanager
    def wandb_going_on(self) -> Iterator[None]:
        """Context in which an error of Weights & Biases ends its part of the log, and not the training."""
        try:
            yield
        # Training must not depend on a service, whatever its error.
        except Exception as error:
            self.wandb = None
            self.info(f"warning: wandb has failed, the run goes on without it: {' '.join(str(error).split())}")

    def info(self, message: str) -> None:
        """Logs one line to the terminal and to log.txt."""
        self.logger.info(message)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Logs values by name to TensorBoard, and to Weights & Biases."""
        if self.silent:
            return
        for name, value in values.items():
            self.add_event(step, "add_scalar", name, value)
        if self.wandb is not None:
            with self.wandb_going_on():
                self.wandb.log({**values, "step": step})

    def pictures(self, pictures: Mapping[str, "np.ndarray"], step: int) -> None:
        """Logs pictures by name, (H, W, 3) uint8, to TensorBoard, and to Weights & Biases."""
        if self.silent:
            return
        for name, picture in pictures.items():
            self.add_event(step, "add_image", name, picture, dataformats="HWC")
        if self.wandb is not None and pictures:
            import wandb

            with self.wandb_going_on():
                self.wandb.log({**{name: wandb.Image(picture) for name, picture in pictures.items()}, "step": step})

    def add_event(self, step: int, kind: str, name: str, value: object, **how: str) -> None:
        """Adds a value to TensorBoard's events; if they cannot be written, the run goes on without them, as with log.txt.

        Args:
            step: of the training.
            kind: method of `SummaryWriter`.
            name, value, how: its arguments.
        """
        if self.without_events:
            return
        try:
            getattr(self.events(step), kind)(name, value, step, **how)
        except OSError as error:
            self.without_events = True
            self.info(f"warning: TensorBoard's events cannot be written, the run goes on without them: {error}")

    def events(self, step: int) -> "SummaryWriter":
        """The TensorBoard writer, created when it is first needed."""
        if self.writer is None:
            # Imported here, because it takes a second and scoring does not need it.
            from torch.utils.tensorboard import SummaryWriter

            # Hides values that a killed run wrote for this and later steps.
            self.writer = SummaryWriter(str(self.folder), purge_step=step)
        return self.writer
