"""The whole chain, from images with labels to a segmentation network: python -m tools.pipeline --name X --exp dig_lite

Denoiser, DiG, CAMs, CRF, masks, segmentation network, its masks and mIoU. Each step is the command that one would type. A
step that was stopped is continued; a finished step whose inputs have not changed is skipped.
"""

from utils.command_line import check_flags
from utils.options.tools.pipeline import PipelineOptions, words_of

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(PipelineOptions)

import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.layouts.base import Layout, open_layout
from utils.errors import InputError, Stopped, run_script
from utils.experiment.folder import epoch_file, latest_epoch
from utils.experiment.saved import AFF, SEG
from utils.files import state_of, whole_file
from utils.log import progress
from utils.machine.interruptions import SAVE, Interruptions
from utils.machine.locks import writing
from utils.options.flags import parse_options
from utils.options.recipes import recipe, train_defaults
from utils.options.seg_recipes import SEG_RECIPES
from utils.options.training import TrainOptions
from utils.records import claim_file, digest_of_all
from utils.scoring.best_threshold import evaluation_file
from utils.tar_members import folder_of

CODE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Step:
    """A command of the chain.

    Args:
        name: its name in `pipeline.json`.
        command: the words after `python`.
        inputs: files that it depends on; if one has changed, the step is run again.
        outputs: files that exist when it is finished.
        score: the file of `evaluation.py --json`, for a step that scores.
        data: digest of its images, classes and labels, for a step that has no file for each image.
    """

    name: str
    command: tuple[str, ...]
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]
    score: Path | None = None
    data: str = ""

    @property
    def record(self) -> dict[str, Any]:
        """Its command, and size and time of its inputs."""
        states = {str(path): [s.st_size, s.st_mtime_ns] for path in self.inputs if path.exists() and (s := path.stat())}
        return {"command": list(self.command), "inputs": states} | ({"data": self.data} if self.data else {})

    def is_done(self, before: object) -> bool:
        """Whether it can be skipped; `before` is the record of its last run, in earlier versions without `data`."""
        now = self.record
        if isinstance(before, dict) and "data" not in before:
            now.pop("data", None)
        return before == now and all(path.exists() for path in self.outputs)


def main(args: list[str]) -> None:
    # Options
    options = parse_options(PipelineOptions, args, "python -m tools.pipeline", __doc__)
    layout = open_layout(Path(options.data_path))
    options.folder.mkdir(parents=True, exist_ok=True)

    # Loop: a step is made when its turn comes, because it may depend on files of earlier steps
    with writing(done_file(options.folder)), Interruptions() as interruptions:
        done = read_done(options.folder)
        makers = Chain(options, layout).makers
        for number, make in enumerate(makers, start=1):
            step = make()
            heading = f"[{number}/{len(makers)}] {step.name}"
            if step.is_done(done.get(step.name)):
                print(f"{heading}: done before", flush=True)
            else:
                print(f"{heading}: python {shlex.join(step.command)}", flush=True)
                run(step, interruptions)
                done[step.name] = step.record
                write_done(options.folder, done)
            if step.score is not None:
                print(f"{step.name} {told(step.score)}", flush=True)


class Chain:
    """Makes the steps.

    Args:
        options: options of the command.
        layout: the data set.
    """

    def __init__(self, options: PipelineOptions, layout: Layout):
        self.options = options
        self.layout = layout
        self.folder = options.folder
        self.seg_name = f"{options.name}_seg"
        self.seg_folder = options.folder.with_name(self.seg_name)
        self.ids, self.list = training_list(options, layout)
        self.val_ids, self.val_list = val_list(options, layout)
        self.dict = "dict" if options.refine == "none" else f"dict_{options.refine}"
        published = recipe(options.exp).train.get("diffusion_weights", "") if not recipe(options.exp).denoiser else ""
        self.trains_denoiser = bool(recipe(options.exp).denoiser) and not options.denoiser
        own = options.folder.with_name(f"{options.name}_denoiser") / "denoiser.pt"
        self.denoiser = options.denoiser or published or (str(own) if self.trains_denoiser else "")

    @property
    def makers(self) -> list:
        """The methods that make the steps, in order."""
        scored = all(self.layout.mask_path(i).exists() for i in self.ids)
        refined, affinity = self.options.refine != "none", self.options.refine == "affinity"
        crf = self.options.source == "crf"
        steps = (
            (self.train_denoiser, self.trains_denoiser),
            (self.train_cams, True),
            (self.infer_cams, True),
            (self.score_cams, scored),
            (self.make_sure_masks, affinity),
            (self.train_affinities, affinity),
            (self.refine, refined),
            (self.score_refined, refined and scored),
            (self.crf, crf),
            (self.score_crf, crf and scored),
            (self.make_masks, True),
            (self.score_masks, scored),
            (self.train_segmentation, True),
            (self.infer_segmentation, True),
            (self.score_segmentation, all(self.layout.mask_path(i).exists() for i in self.val_ids)),
        )
        return [make for make, wanted in steps if wanted]

    def command(self, script: str, name: str, *flags: str) -> tuple[str, ...]:
        """The command line of a script for an experiment of this chain."""
        run = script.split() if script.startswith("-m ") else [str(CODE / script)]
        return (*run, "--name", name, "--experiments", self.options.experiments, *flags)

    def common(self, seed: bool = False) -> tuple[str, ...]:
        """The flags `--device` and, if asked for, `--seed`."""
        seeds = ("--seed", str(self.options.seed)) if seed else ()
        return ("--device", self.options.device, *seeds)

    def files(self, folder: Path, ids: Sequence[str], suffix: str) -> tuple[Path, ...]:
        """The files of a folder when all images are done, and its record."""
        return (claim_file(folder), *(folder / f"{image_id}{suffix}" for image_id in ids))

    def train_denoiser(self) -> Step:
        """Trains a denoiser on the training images' folder."""
        images = os.path.commonpath([folder_of(self.layout.image_path(i)) for i in self.ids])
        flags = ("--exp", self.options.exp, "--data", images, "--out", self.denoiser, *self.common(seed=True))
        name = f"{self.options.name}_denoiser"
        command = self.command("train_diffusion.py", name, *flags, *words_of(self.options.denoiser_flags))
        return Step("denoiser", command, (), (Path(self.denoiser),))

    def train_cams(self) -> Step:
        """Trains DiG."""
        flags = ["--exp", self.options.exp, "--data-path", self.options.data_path, *self.common(seed=True)]
        flags += ["--diffusion-weights", self.denoiser] if self.denoiser else []
        command = self.command("train_trm.py", self.options.name, *flags, *words_of(self.options.cam_flags))
        inputs = (Path(self.denoiser),) if self.denoiser else ()
        run = parse_options(TrainOptions, command[1:], "train_trm.py", None, train_defaults(command[1:], self.options.exp))
        ids, _ = open_layout(Path(run.data_path), run.sbd_path).training_ids(run.train_list)
        outputs = (self.folder / "options.json", self.last_epoch(self.folder))
        return Step("DiG", command, inputs, outputs, data=self.digest(ids, labelled=True))

    def last_epoch(self, folder: Path, kind: str = "net_trm.pth") -> Path:
        """Inference weights of a run's last epoch; before its first epoch, the file name of epoch 0."""
        try:
            return epoch_file(folder, latest_epoch(folder, kind), kind)
        except InputError:
            return epoch_file(folder, 0, kind)

    def infer_cams(self) -> Step:
        """Infers CAMs of the training images."""
        flags = ("--dict", "--val-list", self.list, "--data-path", self.options.data_path, *self.common())
        command = self.command("infer_trm.py", self.options.name, *flags, *words_of(self.options.infer_flags))
        outputs = self.files(self.folder / "dict", self.ids, ".npy")
        return Step("CAMs", command, (self.last_epoch(self.folder),), outputs)

    def make_sure_masks(self) -> Step:
        """Makes pseudo-masks with 255 where the labels at `--low` and `--high` differ."""
        flags = ["--low", f"{self.options.low:g}", "--high", f"{self.options.high:g}", "--png-dir", "sure"]
        command = self.command("-m tools.masks", self.options.name, *flags, *self.made_of())
        outputs = self.files(self.folder / "sure", self.ids, ".png")
        return Step("sure masks", command, (claim_file(self.folder / "dict"),), outputs)

    def train_affinities(self) -> Step:
        """Trains the affinity network on these masks."""
        name = f"{self.options.name}_aff"
        flags = [*self.on_masks(self.options.aff_exp, "sure"), *words_of(self.options.aff_flags)]
        folder = self.folder.with_name(name)
        outputs = (folder / "options.json", self.last_epoch(folder, AFF))
        command = self.command("train_affinity.py", name, *flags)
        return Step("affinities", command, (claim_file(self.folder / "sure"),), outputs, data=self.digest(self.ids))

    def on_masks(self, exp: str, masks: str) -> list[str]:
        """Flags of a training on masks of the training images; `masks` is their folder in the experiment."""
        flags = ["--exp", exp, "--data-path", self.options.data_path, "--masks", str(self.folder / masks)]
        return [*flags, "--train-list", self.list, *self.common(seed=True)]

    def refine(self) -> Step:
        """Refines the CAMs by `--refine`."""
        flags = ("--method", self.options.refine, *self.made_of(), "--device", self.options.device)
        flags += tuple(words_of(self.options.refine_flags))
        outputs = self.files(self.folder / self.dict, self.ids, ".npy")
        command = self.command("-m tools.refine", self.options.name, *flags)
        inputs = [claim_file(self.folder / "dict")]
        if self.options.refine == "affinity":
            inputs.append(self.last_epoch(self.folder.with_name(f"{self.options.name}_aff"), AFF))
        return Step("refinement", command, tuple(inputs), outputs)

    def made_of(self) -> tuple[str, ...]:
        """Flags that name the training images for commands that work on their files."""
        return ("--val-list", self.list, "--data-path", self.options.data_path)

    def crf(self) -> Step:
        """Makes CRF scores of the CAMs."""
        alpha = f"{self.options.alpha:g}"
        flags = ("--alphas", alpha, "--dict-dir", self.dict, *self.made_of(), *words_of(self.options.crf_flags))
        command = self.command("-m tools.crf", self.options.name, *flags)
        outputs = self.files(self.folder / "crf" / alpha, self.ids, ".npy")
        return Step("CRF scores", command, (claim_file(self.folder / self.dict),), outputs)

    def make_masks(self) -> Step:
        """Makes pseudo-masks of the training images."""
        flags: tuple[str, ...] = ("--source", "crf", "--alphas", f"{self.options.alpha:g}")
        source = self.folder / "crf" / f"{self.options.alpha:g}"
        if self.options.source == "dict":
            flags = ("--source", "dict", "--dict-dir", self.dict, "--threshold", self.options.threshold)
            source = self.folder / self.dict
        inputs = [claim_file(source)]
        if self.options.source == "dict" and self.options.threshold == "best":
            inputs.append(evaluation_file(self.folder, self.dict))
        command = self.command("-m tools.masks", self.options.name, *flags, *self.made_of())
        return Step("masks", command, tuple(inputs), self.files(self.folder / "png", self.ids, ".png"))

    def train_segmentation(self) -> Step:
        """Trains the segmentation network."""
        flags = [*self.on_masks(self.options.seg_exp, "png"), *words_of(self.options.seg_flags)]
        command = self.command("train_seg.py", self.seg_name, *flags)
        outputs = (self.seg_folder / "options.json", self.last_epoch(self.seg_folder, SEG))
        inputs = (claim_file(self.folder / "png"),)
        data = self.digest(self.ids) + digest_of_all(
            self.folder / "png" / f"{i}.png" for i in progress(self.ids, "reading masks")
        )
        return Step("segmentation network", command, inputs, outputs, data=data)

    def infer_segmentation(self) -> Step:
        """Infers the segmentation network's masks of the validation images."""
        scales = tuple(f"{scale:g}" for scale in self.options.scales)
        flags = ("--png", "--mirror", "--scales", *scales, "--val-list", self.val_list, *self.common())
        command = self.command("infer_seg.py", self.seg_name, *flags, "--data-path", self.options.data_path)
        outputs = self.files(self.seg_folder / "png", self.val_ids, ".png")
        return Step("its masks", command, (self.last_epoch(self.seg_folder, SEG),), outputs)

    def score(self, name: str, experiment: str, task: str, predictions: Path, images: str) -> Step:
        """A step that scores predictions against true masks; `task` is that of evaluation.py."""
        folder = self.folder.with_name(experiment)
        name_of_list = "training_images" if images == self.list else Path(images).stem
        if Path(images).name != images and images != self.list:  # a file: others may be called the same
            name_of_list += f"-{hashlib.sha256(images.encode()).hexdigest()[:8]}"
        scores = folder / f"{predictions.relative_to(folder).as_posix().replace('/', '_')}.{name_of_list}.score.json"
        flags = ["--task", task, "--dict-dir", str(predictions.relative_to(folder)), "--list", images]
        flags += ["--json", str(scores), "--data-path", self.options.data_path]
        command = self.command("evaluation.py", experiment, *flags)
        ids = self.ids if images == self.list else self.val_ids
        data = self.digest(ids, files=[self.layout.mask_path(i) for i in ids])
        return Step(name, command, (claim_file(predictions),), (scores,), scores, data)

    def digest(self, ids: Sequence[str], labelled: bool = False, files: Sequence[Path] = ()) -> str:
        """A digest of images and classes, with others of which a step that was done is done again.

        Args:
            ids: of the images.
            labelled: with their labels.
            files: with size and time of these files.
        """
        labels = np.packbits(self.layout.labels(ids)).tobytes() if labelled else b""
        content = [list(ids), self.layout.classes, *map(state_of, files)]
        return hashlib.sha256(json.dumps(content).encode() + labels).hexdigest()[:16]

    def score_cams(self) -> Step:
        """Scores the CAMs."""
        return self.score("CAM", self.options.name, "cam", self.folder / "dict", self.list)

    def score_refined(self) -> Step:
        """Scores the refined CAMs."""
        return self.score(self.options.refine, self.options.name, "cam", self.folder / self.dict, self.list)

    def score_crf(self) -> Step:
        """Scores the CRF."""
        return self.score("CRF", self.options.name, "crf", self.folder / "crf" / f"{self.options.alpha:g}", self.list)

    def score_masks(self) -> Step:
        """Scores the pseudo-masks."""
        return self.score("mask", self.options.name, "png", self.folder / "png", self.list)

    def score_segmentation(self) -> Step:
        """Scores the segmentation network."""
        name = "training images" if self.val_list == self.list else self.options.val_list
        return self.score(name, self.seg_name, "png", self.seg_folder / "png", self.val_list)


def training_list(options: PipelineOptions, layout: Layout) -> tuple[list[str], str]:
    """The images that the segmentation network is trained on, and the name or file of a list of them."""
    wanted = recipe_list(options)
    ids, _ = layout.training_ids(wanted)
    name = wanted or layout.usual_list
    if layout.list_path(name).is_file() and layout.read_list(name) == ids:
        return ids, name
    path = options.folder / "training_list.txt"  # for a list that has no file of its own
    if not path.exists() or path.read_text(encoding="utf-8").split("\n")[:-1] != ids:
        with whole_file(path) as file:
            file.write("".join(f"{image_id}\n" for image_id in ids).encode())
    return ids, str(path)


def recipe_list(options: PipelineOptions) -> str:
    """The training list that the recipe of the segmentation network names."""
    return recipe(options.seg_exp, SEG_RECIPES).train.get("train_list", "")


def val_list(options: PipelineOptions, layout: Layout) -> tuple[list[str], str]:
    """The images that the segmentation network is scored on; the training images if the default list is missing."""
    try:
        return layout.read_list(options.val_list), options.val_list
    except InputError:
        if options.val_list != PipelineOptions.val_list or layout.list_path(options.val_list).is_file():
            raise
        return training_list(options, layout)


def run(step: Step, interruptions: Interruptions) -> None:
    """Runs a command to its end, and passes on a signal to stop.

    Raises:
        Stopped: a signal came; the command has saved its state.
        SystemExit: the command failed, and has printed why.
    """
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(CODE), os.environ.get("PYTHONPATH")]))}
    process = subprocess.Popen([sys.executable, *step.command], env=env)
    told_to_stop = False
    while process.poll() is None:
        time.sleep(0.1)
        if interruptions.request() > SAVE and not told_to_stop:
            process.send_signal(interruptions.request())
            told_to_stop = True
    if told_to_stop:
        raise Stopped(interruptions.request())
    if process.returncode:
        print(f"stopped at {step.name}: given again, the command goes on there", flush=True)
        sys.exit(process.returncode if process.returncode > 0 else 128 - process.returncode)


def told(scores: Path) -> str:
    """The best mIoU in a file of `evaluation.py --json`, in words."""
    best = json.loads(scores.read_text())["best"]
    at = "" if best["threshold"] is None else f" at threshold {best['threshold']:.2f}"
    return f"mIoU {best['miou']:.2f}{at}"


def done_file(folder: Path) -> Path:
    """The file that records the finished steps."""
    return folder / "pipeline.json"


def read_done(folder: Path) -> dict[str, Any]:
    """The records that `write_done` kept; empty if there are none or they are damaged: all steps are then run again."""
    try:
        content = json.loads(done_file(folder).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def write_done(folder: Path, done: dict[str, Any]) -> None:
    """Keeps the records of the finished steps."""
    with whole_file(done_file(folder)) as file:
        file.write((json.dumps(done, indent=1) + "\n").encode())


if __name__ == "__main__":
    run_script(main)
