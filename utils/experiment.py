"""The folder of an experiment: created by training, read by inference and evaluation."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .animation import animation_file
from .errors import InputError, did_you_mean
from .files import previous_file, whole_file
from .log import wandb_file
from .options.experiment import OPTIONS_FILE, RunOptions, load_options, save_options
from .options.exported import WEIGHTS_FILE, is_exported, read_config
from .options.flags import build_parser, dashed, flag_name, make_options, parse_options, show
from .options.recipes import recipe
from .options.segmentation import AffinityOptions, MaskOptions, SegOptions
from .options.training import DenoiserOptions, TrainOptions, load_run, load_run_of

TrainingT = TypeVar("TrainingT", bound=TrainOptions | DenoiserOptions | SegOptions | AffinityOptions)
MaskT = TypeVar("MaskT", bound=MaskOptions)
TRM, SEG, AFF = "net_trm.pth", "net_seg.pth", "net_aff.pth"
"""Endings of the names of inference weights: of DiG, of a segmentation network, of an affinity network."""
SCORES = ("miou", "threshold", "map", "f1")
"""Validation scores of an epoch, in percent except the threshold; a segmentation network has only `miou`."""
NEEDED_SCORES = ("miou", "threshold")
"""Scores of an epoch of DiG that files of all versions hold."""


def epoch_file(folder: Path, epoch: int, kind: str = TRM) -> Path:
    """The inference weights of an epoch: `<folder>/ckpt/019net_trm.pth`."""
    return folder / "ckpt" / f"{epoch:03d}{kind}"


def last_file(folder: Path) -> Path:
    """The checkpoint that a run is resumed from."""
    return folder / "ckpt" / "last.pth"


def scores_file(folder: Path) -> Path:
    """The file of validation scores by epoch."""
    return folder / "scores.json"


def read_scores(folder: Path) -> dict[str, dict[str, float]]:
    """Validation scores by epoch, as `add_score` wrote them; empty if there are none yet.

    Raises:
        InputError: the file is damaged.
    """
    try:
        content = json.loads(scores_file(folder).read_text())
        needed = NEEDED_SCORES if kind_of(folder) == TRM else NEEDED_SCORES[:1]
        return {
            str(epoch): {name: float(scores[name]) for name in SCORES if name in scores or name in needed}
            for epoch, scores in content.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise InputError(f"{scores_file(folder)} cannot be read: {error}; remove it to score anew") from error


def add_score(folder: Path, epoch: int, scores: Mapping[str, float]) -> None:
    """Adds an epoch's `SCORES` to scores.json; other values are left out."""
    content = read_scores(folder) | {str(epoch): {name: float(scores[name]) for name in SCORES if name in scores}}
    with whole_file(scores_file(folder), durable=True) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


def latest_epoch(folder: Path, kind: str = TRM) -> int:
    """The last epoch that left inference weights.

    Raises:
        InputError: there is none.
    """
    epochs = epochs_there(folder, kind)
    if not epochs:
        raise InputError(f"{folder / 'ckpt'} holds no <epoch>{kind}; train first or give --weights FILE")
    return epochs[-1]


def require_epoch(folder: Path, epoch: int, kind: str = TRM) -> Path:
    """The inference weights of an epoch.

    Raises:
        InputError: the experiment has other epochs.
    """
    path, epochs = epoch_file(folder, epoch, kind), epochs_there(folder, kind)
    if epochs and epoch not in epochs:
        near = min(epochs, key=lambda other: abs(other - epoch))
        published = "or copy the published 69.3_pascal.pth there, " if kind == TRM else ""
        raise InputError(
            f"{path} is missing. Train first, or take one of {len(epochs)} epochs there, {near} is nearest; {published}"
            "or name a file with --weights"
        )
    return path


def weights_of(folder: Path, epoch: int | None = None, kind: str = TRM) -> Path:
    """The inference weights of an experiment's epoch, or of an exported network.

    Args:
        folder: folder of the experiment, or of an exported network.
        epoch: counted from 0; None: the last one there.
        kind: TRM, SEG or AFF.

    Raises:
        InputError: there are none.
    """
    if is_exported(folder):
        if epoch is not None:
            raise InputError(f"{folder} is an exported network, which has one set of weights and no epoch {epoch}")
        return folder / WEIGHTS_FILE
    return require_epoch(folder, latest_epoch(folder, kind) if epoch is None else epoch, kind)


def require_experiment(folder: Path) -> None:
    """Raises InputError if there is no such experiment; the message suggests a similar name."""
    if not folder.is_dir():
        beside = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
        others = did_you_mean(folder.name, beside) or ": train one, or name another with --name and --experiments"
        raise InputError(f"there is no experiment {folder}{others}")


def epochs_there(folder: Path, kind: str = TRM) -> list[int]:
    """Epochs that left inference weights, ascending."""
    names = [path.name.removesuffix(kind) for path in (folder / "ckpt").glob(f"*{kind}")]
    return sorted(int(name) for name in names if name.isdigit())


def remove_old_epochs(folder: Path, keep: int, kind: str = TRM) -> None:
    """Removes inference weights of all but the last epochs and the one with the best mIoU, the first of equals."""
    scores = read_scores(folder)
    best = max(scores, key=lambda epoch: (scores[epoch]["miou"], -int(epoch)), default=None)
    for epoch in epochs_there(folder, kind)[:-keep]:
        if str(epoch) != best:
            epoch_file(folder, epoch, kind).unlink(missing_ok=True)


def kind_of(folder: Path) -> str:
    """The kind of a run: of train_trm.py (TRM), train_seg.py (SEG) or train_affinity.py (AFF); TRM if there is no run."""
    if is_exported(folder):
        return SEG if read_config(folder).kind == "seg" else TRM
    try:
        options = json.loads((folder / OPTIONS_FILE).read_text())["options"]
        return AFF if "radius" in options else SEG if "encoder" in options else TRM
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return TRM


def job_of(folder: Path) -> str:
    """The name of the torchrun job that started the run in a folder; empty without torchrun."""
    try:
        return str(json.loads((folder / OPTIONS_FILE).read_text())["job"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return ""


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
    saved = load_options(cls, folder / OPTIONS_FILE)
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
    saved = load_options(cls, folder / OPTIONS_FILE)
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


def run_of(folder: Path, exp: str, data_path: str, val_list: str = "") -> tuple[TrainOptions, tuple[str, ...] | None]:
    """Options and classes of a run, for inference and evaluation.

    Args:
        folder: the experiment's folder.
        exp: the requested recipe; empty: the run's.
        data_path, val_list: replace the run's if not empty.

    Returns:
        The run's options and classes. If the folder holds no run, only weights copied there: the recipe's options and None.

    Raises:
        InputError: the run has no CAMs, or was trained with another recipe than `exp`.
    """
    if kind_of(folder) == SEG:
        raise InputError(f"{folder} is a run of train_seg.py, a segmentation network, which has no CAMs: see infer_seg.py")
    if kind_of(folder) == AFF:
        raise InputError(f"{folder} is a run of train_affinity.py, which has no CAMs: see python -m tools.refine")
    run = load_run(folder)
    if run is None:
        values = {**recipe(exp or TrainOptions.exp).train, "name": folder.resolve().name}
        options, classes = make_options(TrainOptions, values), None
    else:
        options, classes = run
        if exp and exp != options.exp:
            raise InputError(f"{folder / OPTIONS_FILE} says --exp {options.exp}, not {exp}")
    return dataclasses.replace(
        options, data_path=data_path or options.data_path, val_list=val_list or options.val_list
    ), classes


def seg_run_of(folder: Path, data_path: str = "", val_list: str = "") -> tuple[SegOptions, tuple[str, ...]]:
    """Options and classes of a run of train_seg.py, for inference and evaluation.

    Args:
        folder: the experiment's folder.
        data_path, val_list: replace the run's if not empty.

    Returns:
        The run's options, and its classes.

    Raises:
        InputError: there is no such run.
    """
    options, classes = mask_run_of(folder, SegOptions, SEG, "train_seg.py")
    return dataclasses.replace(
        options, data_path=data_path or options.data_path, val_list=val_list or options.val_list
    ), classes


def mask_run_of(folder: Path, cls: type[MaskT], kind: str, script: str) -> tuple[MaskT, tuple[str, ...]]:
    """The options and classes of a run of a script that trains on masks.

    Raises:
        InputError: there is no such run.
    """
    run = load_run_of(folder, cls) if kind_of(folder) == kind else None
    if run is None:
        raise InputError(f"{folder} holds no run of {script}: its {OPTIONS_FILE} is missing or of another script")
    return run


def scored_run_of(folder: Path, exp: str, data_path: str) -> tuple[TrainOptions | SegOptions, tuple[str, ...] | None]:
    """Options and classes of a run of train_trm.py or train_seg.py, for scoring; see `run_of` and `seg_run_of`."""
    return seg_run_of(folder, data_path) if kind_of(folder) == SEG else run_of(folder, exp, data_path)
