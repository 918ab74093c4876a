"""The epochs of a run: each is trained, keeps its inference weights, and is scored where that is due."""

from collections.abc import Callable
from pathlib import Path

from ..experiment.folder import epoch_file, read_scores, remove_old_epochs
from ..machine.distributed import gather, is_main
from ..options.segmentation import MaskOptions
from ..options.training import TrainOptions, ValidationOptions
from .engine import EpochLoader, Training
from .step import NetworkT


def train_epochs(
    training: Training[NetworkT],
    loader: EpochLoader,
    options: TrainOptions | MaskOptions,
    epochs: int,
    kind: str,
    save: Callable[[NetworkT, Path], None],
    score: Callable[[int], None] | None = None,
) -> None:
    """Trains the epochs that are left.

    Args:
        training: the run, new or resumed.
        loader: of its training images.
        options: of the run.
        epochs: how many there are after this call.
        kind: ending of the names of inference weights (`utils.experiment.saved`).
        save: writes a network's inference weights; called in the main process.
        score: scores an epoch, counted from 0; called in all processes. None: there is nothing to score on.

    Raises:
        InputError: see `Training.train_epoch`.
        Stopped: a signal came; the run is saved.
    """
    scored = gather(sorted(read_scores(options.folder)))[0]  # before a resume
    with training.interruptions:
        for epoch in range(training.epoch, epochs):
            losses = training.train_epoch(loader, epoch)
            training.log.info(f"epoch {epoch} done: " + " ".join(f"{name} {value:.4f}" for name, value in losses.items()))
            if is_main():
                save(training.result, epoch_file(options.folder, epoch, kind))
            if not isinstance(options, ValidationOptions):
                continue
            if score is not None and options.validates(epoch, options.epochs) and str(epoch) not in scored:
                score(epoch)
            if is_main() and options.keep:
                remove_old_epochs(options.folder, options.keep, kind)
        training.log.info(f"done: {epoch_file(options.folder, epochs - 1, kind)}")
