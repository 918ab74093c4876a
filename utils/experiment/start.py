"""How a training run starts, or goes on where it was."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..animation import animation_file
from ..errors import InputError
from ..files import previous_file
from ..log import wandb_file
from ..options.experiment import OPTIONS_FILE, RunOptions
from ..options.flags import build_parser, dashed, flag_name, make_options, parse_options, show
from ..options.segmentation import AffinityOptions, MaskOptions, SegOptions
from ..options.training import DenoiserOptions, TrainOptions
from .folder import last_file, scores_file
from .saved import AFF, SEG, TRM, job_of, load_options, save_options

TrainingT = TypeVar("TrainingT", bound=TrainOptions | DenoiserOptions | SegOptions | AffinityOptions)


def has_run(folder: Path) -> bool:
    """Whether there is a run to resume: options, and the last checkpoint or the previous one."""
    last = last_file(folder)
    return (folder / OPTIONS_FILE).exists() and (last.exists() or previous_file(last).exists())


def parse_run(
    cls: type[TrainingT],
    args: Sequence[str],
    program: str,
    description: str | None,
    defaults: Mapping[str, Any],
    restarted_job: str = "",
) -> TrainingT:
    """Options of a training script; `resume` is set if the folder holds a run that they continue.

    The same command continues its run; a command that would change what the run computes is refused.

    Args:
        cls: `TrainOptions`, `DenoiserOptions`, `SegOptions` or `AffinityOptions`.
        args, program, description, defaults: see `parse_options`.
        restarted_job: the torchrun job that this process may be a restart of. If that job started the run, `--overwrite` is
            ignored: the first start has carried it out.

    Raises:
        InputError: a flag is wrong, there is nothing to resume, or a flag would change what the run computes.
    """
    if "--resume" in args:
        return parse_resumed(cls, args, program, description)
    options = parse_options(cls, args, program, description, defaults)
    folder = options.folder
    if restarted_job and job_of(folder) == restarted_job:
        options = dataclasses.replace(options, overwrite=False)
    if options.overwrite or not has_run(folder):
        return options
    saved = load_options(cls, folder)
    if was := kept_flags(saved, options):
        way_out = "--resume continues it as it was, --overwrite starts afresh"
        raise InputError(f"{folder} holds a run with {was}: {way_out}{why_length_is_kept(saved, options)}")
    return dataclasses.replace(options, resume=True)


def parse_resumed(cls: type[TrainingT], args: Sequence[str], program: str, description: str | None) -> TrainingT:
    """Options of a training script with `--resume`: the run's options replace the recipe's defaults; see `parse_run`."""
    given, _ = build_parser(RunOptions, program, description).parse_known_args(list(map(dashed, args)))
    place = make_options(RunOptions, vars(given))
    folder = place.folder
    if not has_run(folder):
        raise InputError(f"{last_file(folder)} is missing: there is no run to resume")
    saved = load_options(cls, folder)
    # Number of processes and device depend on the machine, which may be another one now; the run's stop has been reached.
    defaults = dataclasses.asdict(saved) | {"nproc": 0, "device": "auto"}
    defaults |= {"name": place.name, "experiments": place.experiments}  # another place if the project was copied
    if isinstance(saved, TrainOptions):
        defaults["until"] = 0
    options = parse_options(cls, args, program, description, defaults)
    if was := kept_flags(saved, options):
        reason = why_length_is_kept(saved, options)
        raise InputError(f"{folder / OPTIONS_FILE}: a resumed run keeps its options, and this one has {was}{reason}")
    return dataclasses.replace(options, resume=True)


def kept_flags(saved: TrainingT, options: TrainingT) -> str:
    """The saved run's flags that the new options would change, though a resume must not; as on a command line."""
    fields = [f for f in dataclasses.fields(saved) if not f.metadata["resumable"]]
    values = [(f.name, getattr(saved, f.name)) for f in fields if getattr(saved, f.name) != getattr(options, f.name)]
    return ", ".join(f"{flag_name(name)} {show(value)}" for name, value in values)


def why_length_is_kept(saved: TrainingT, options: TrainingT) -> str:
    """The end of a message: why the number of epochs cannot change; empty if it would not change."""
    before, after = (getattr(one, "epochs", 0) for one in (saved, options))
    if before == after:
        return ""
    curve = "polynomial" if isinstance(saved, MaskOptions) else "cosine"
    return (
        f". The learning rate falls along one {curve} over all {before} epochs, so that {after} would have changed every "
        "epoch that is done: a run of another length starts afresh, under another --name"
    )


def open_experiment(options: TrainingT) -> Path:
    """Creates the folder of a training run; refuses to overwrite existing weights without `--overwrite`.

    Returns:
        The path of the last checkpoint; it exists only if the options say `resume`.

    Raises:
        InputError: the folder holds weights without a run, and `--overwrite` was not given.
    """
    last = last_file(options.folder)
    if options.resume and options.overwrite:
        raise InputError("--resume and --overwrite exclude each other")
    weights = [last] if last.exists() else sorted(path for kind in (TRM, SEG, AFF) for path in last.parent.glob(f"*{kind}"))
    if weights and not (options.resume or options.overwrite):
        raise InputError(f"{weights[0]} exists, and there is no run to continue: --overwrite starts afresh")
    options.folder.mkdir(parents=True, exist_ok=True)
    return last


def start_run(options: TrainingT, classes: Sequence[str], job: str = "", white: float = 0.0) -> None:
    """Saves the options of a run whose inputs were checked; a new one first removes what an earlier one has left.

    Args:
        options, classes, job: of the run.
        white: white level of its training images of more than 8 bits, which inference takes too; 0: unknown.
    """
    folder = options.folder
    old = [*folder.glob("ckpt/*.pth")] if options.overwrite else []
    if not options.resume:
        old += [*folder.glob("events.out.tfevents.*"), scores_file(folder), wandb_file(folder), animation_file(folder)]
    for path in old:
        path.unlink(missing_ok=True)
    save_options(dataclasses.replace(options, resume=False, overwrite=False), classes, job, white)
