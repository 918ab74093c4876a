"""The whole chain: what it runs, what it passes over, where it stops."""

import signal
from pathlib import Path

import pytest
import torch

import evaluation
import infer_seg
import infer_trm
import train_affinity
import train_diffusion
import train_seg
import train_trm
from datasets.layouts.base import open_layout
from datasets.shards import main as pack
from tests.helpers import ROOT
from tests.helpers.locked import held_elsewhere
from tests.helpers.toy_data import make_toy_coco, make_toy_folder, make_toy_voc, write_lines
from tools import crf, masks, pipeline, refine
from tools.pipeline import Chain, Step
from utils.cams.masks import read_mask, write_mask
from utils.errors import InputError, Stopped
from utils.machine.interruptions import Interruptions
from utils.options.tools.pipeline import PipelineOptions

pytestmark = pytest.mark.slow

FLAGS = {
    "denoiser-flags": "--steps 2 --dim 8 --image-size 32 --batch-size 2 --num-samples 1 --sample-steps 2 --num-workers 0",
    "cam-flags": "--input-size 32 --infer-size 0 --embed-dim 16 --depth 2 --num-heads 2 --feature-steps 0 2 --batch-size 2"
    " --num-workers 0 --epochs 1",
    "infer-flags": "--num-workers 0",
    "aff-flags": "--crop-size 32 --batch-size 2 --epochs 1 --num-workers 0 --arch-options decoder_channels=(8,8,8,8,8)",
    "seg-flags": "--crop-size 32 --batch-size 2 --epochs 1 --num-workers 0 --arch-options decoder_channels=(8,8,8,8,8)",
}


MAINS = {
    "train_diffusion.py": train_diffusion.main,
    "train_trm.py": train_trm.main,
    "infer_trm.py": infer_trm.main,
    "train_seg.py": train_seg.main,
    "train_affinity.py": train_affinity.main,
    "infer_seg.py": infer_seg.main,
    "evaluation.py": evaluation.main,
    "tools.crf": crf.main,
    "tools.masks": masks.main,
    "tools.refine": refine.main,
}


def run_here(step: Step, interruptions: Interruptions) -> None:
    """The command of a step in this process, which starts none."""
    script, *args = step.command
    if script == "-m":
        script, *args = args
    MAINS[Path(script).name](args)


@pytest.fixture
def commands(monkeypatch) -> list[str]:
    """Names of the steps that are run, in this process."""
    ran: list[str] = []

    def run(step, interruptions):
        run_here(step, interruptions)
        ran.append(step.name)

    monkeypatch.setattr(pipeline, "run", run)
    return ran


def chain(tmp_path: Path, data: Path, exp: str, extra: str = "") -> None:
    flags = [f"--{name}={value}" for name, value in FLAGS.items()]
    line = f"--name x --experiments {tmp_path} --data-path {data} --exp {exp} --seg-exp seg_toy --device cpu {extra}"
    pipeline.main([*line.split(), *flags])


def test_the_chain_goes_from_images_to_an_miou_and_passes_over_what_is_done(tmp_path, commands, capsys):
    pytest.importorskip("pydensecrf")
    voc = make_toy_voc(tmp_path / "VOC2012", 9)
    chain(tmp_path, voc, "dig_nano")
    lines = [line for line in capsys.readouterr().out.splitlines() if " mIoU " in line and line.split()[1] == "mIoU"]
    assert [line.split()[0] for line in lines] == ["CAM", "CRF", "mask", "val"]
    assert commands[0] == "denoiser"
    assert len(commands) == 11
    commands.clear()

    chain(tmp_path, voc, "dig_nano")
    assert commands == []
    again = capsys.readouterr().out
    assert again.count("done before") == 11
    assert lines[-1] in again

    (tmp_path / "x" / "png" / "2007_000001.png").unlink()
    chain(tmp_path, voc, "dig_nano")
    assert commands == ["masks"]
    commands.clear()

    weights = tmp_path / "x" / "ckpt" / "000net_trm.pth"
    torch.save({name: value + 1 for name, value in torch.load(weights, weights_only=True).items()}, weights)
    with pytest.raises(InputError, match=r"dict was made with weights '\w+', not '\w+'\. --overwrite replaces it"):
        chain(tmp_path, voc, "dig_nano")
    assert commands == []


def test_own_images_with_labels_alone_end_in_masks(tmp_path, commands, capsys):
    own = make_toy_folder(tmp_path / "own")
    chain(tmp_path, own, "dig_nano", "--source dict --threshold 0.4 --refine pamr --refine_flags=--scale=0.5")
    assert "mIoU" not in capsys.readouterr().out
    assert commands[-1] == "its masks"
    assert len(list((tmp_path / "x_seg" / "png").glob("*.png"))) == 6


def test_coco_goes_the_same_way(tmp_path, commands, capsys):
    coco = make_toy_coco(tmp_path / "COCO2014", masks=True)
    chain(tmp_path, coco, "dig_coco_nano", "--source dict --val-list val2014 --refine affinity --aff-exp aff_toy")
    wanted = ("CAM mIoU", "affinity mIoU", "val2014 mIoU")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(wanted)]
    assert len(lines) == 3


def steps_of(tmp_path: Path, data: Path, **options) -> list[str]:
    made = Chain(PipelineOptions(name="x", experiments=str(tmp_path), **options), open_layout(data))
    return [make().name for make in made.makers]


@pytest.mark.parametrize(("threshold", "depends"), [("best", True), ("0.4", False)])
def test_masks_at_the_best_threshold_are_made_again_when_it_changes(tmp_path, toy_voc, threshold, depends):
    options = PipelineOptions(
        name="x", experiments=str(tmp_path), data_path=str(toy_voc), source="dict", threshold=threshold
    )
    inputs = Chain(options, open_layout(toy_voc)).make_masks().inputs
    assert (tmp_path / "x" / "evaluation.json" in inputs) == depends


def test_a_denoiser_that_is_there_is_not_trained(tmp_path, toy_voc):
    data = {"data_path": str(toy_voc), "seg_exp": "seg_lite"}
    assert steps_of(tmp_path, toy_voc, exp="dig_lite", **data)[0] == "denoiser"
    assert steps_of(tmp_path, toy_voc, exp="dig_lite", denoiser="there.pt", **data)[0] == "DiG"
    assert steps_of(tmp_path, toy_voc, exp="dig_eccv24", **data)[0] == "DiG"


def test_a_denoiser_learns_from_the_folder_of_shards(tmp_path, toy_voc):
    pack(f"--data-path {toy_voc} --out {tmp_path / 'shards'} --num_workers 1".split())
    options = PipelineOptions(name="x", experiments=str(tmp_path), exp="dig_lite", data_path=str(tmp_path / "shards"))
    words = Chain(options, open_layout(tmp_path / "shards")).train_denoiser().command
    assert words[words.index("--data") + 1] == str(tmp_path / "shards")


def test_a_list_of_images_that_is_derived_becomes_a_file(tmp_path, toy_coco):
    options = PipelineOptions(name="x", experiments=str(tmp_path), data_path=str(toy_coco))
    layout = open_layout(toy_coco)
    ids, path = pipeline.training_list(options, layout)
    assert layout.read_list(path) == ids == layout.training_ids()[0]


def test_a_command_that_fails_ends_the_chain_with_its_code(capfd):
    with pytest.raises(SystemExit) as stop:
        pipeline.run(Step("broken", ("-c", "import sys; sys.exit('error: no')"), (), ()), Interruptions())
    assert stop.value.code == 1
    assert "stopped at broken" in capfd.readouterr().out


def test_a_signal_reaches_the_command_and_the_chain_waits_for_it(tmp_path):
    there, saved = tmp_path / "there", tmp_path / "saved"
    code = f"""
import signal, sys, time
from pathlib import Path
def save(*_):
    Path({str(saved)!r}).touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
Path({str(there)!r}).touch()
time.sleep(60)
"""

    class Stopping(Interruptions):
        def request(self):
            return int(signal.SIGTERM) if there.exists() else 0

    with pytest.raises(Stopped):
        pipeline.run(Step("slow", ("-c", code), (), ()), Stopping())
    assert saved.exists()


def test_commands_run_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    code = "import pathlib, tools; pathlib.Path('found').write_text(tools.__path__[0])"
    pipeline.run(Step("there", ("-c", code), (), ()), Interruptions())
    assert (tmp_path / "found").read_text() == str(ROOT / "tools")


def test_a_step_is_done_again_with_other_labels_and_scores_are_kept_for_each_list(tmp_path):
    data = make_toy_folder(tmp_path / "own", masks=True)
    write_lines(data / "classes.txt", *open_layout(data).classes)  # so that the classes stay if a label goes

    def made(**options: str) -> dict[str, Step]:
        settings = PipelineOptions(name="x", experiments=str(tmp_path), data_path=str(data), denoiser="there.pt", **options)
        return {step.name: step for step in (make() for make in Chain(settings, open_layout(data)).makers)}

    write_lines(data / "lists" / "a.txt", *open_layout(data).read_list("all")[:2])
    before, listed = made(), made(val_list="a")
    assert "training images" in before  # there is no list val
    assert "val" not in before
    assert before["training images"].score != listed["a"].score
    lines = (data / "labels.csv").read_text().splitlines()
    write_lines(data / "labels.csv", *lines[:-1], f"{lines[-1].split(',')[0]},{lines[1].split(',')[1]}")
    after = made()
    assert after["DiG"].record != before["DiG"].record
    assert after["segmentation network"].record == before["segmentation network"].record
    write_lines(data / "labels.csv", *lines[:-1])
    assert made()["segmentation network"].record != before["segmentation network"].record


def test_a_step_of_an_earlier_version_counts_as_done(tmp_path):
    step = Step("DiG", ("train_trm.py",), (), (), data="abc")
    assert step.is_done(step.record)
    assert step.is_done({"command": ["train_trm.py"], "inputs": {}})
    assert not step.is_done({"command": ["train_trm.py"], "inputs": {}, "data": "abd"})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"seg_flags": "--name 'x"}, '"--name \'x" are no flags: No closing quotation'),
        ({"threshold": "half"}, "--threshold takes numbers, got 'half'"),
        ({"low": 0.5}, "--low 0.5 must be less than --high 0.45"),
    ],
)
def test_wrong_flags_of_later_steps_are_told_before_the_first(flags, message):
    with pytest.raises(InputError, match=message):
        PipelineOptions(name="x", **flags)


def test_a_chain_that_is_refused_changes_no_list(tmp_path):
    data = make_toy_folder(tmp_path / "own")
    with held_elsewhere(tmp_path / "x" / "pipeline.json"), pytest.raises(InputError, match="is in use by process"):
        pipeline.main(f"--name x --experiments {tmp_path} --data-path {data} --exp dig_nano --seg_exp seg_toy".split())
    assert not (tmp_path / "x" / "training_list.txt").exists()


def test_a_score_is_made_again_with_other_true_masks(tmp_path):
    data = make_toy_folder(tmp_path / "own", masks=True)
    options = PipelineOptions(name="x", experiments=str(tmp_path), data_path=str(data), denoiser="there.pt")

    def score() -> Step:
        chain = Chain(options, open_layout(data))
        return chain.score_cams()

    before = score()
    before.outputs[0].parent.mkdir(exist_ok=True, parents=True)
    before.outputs[0].touch()
    assert score().is_done(before.record)
    mask = next((data / "masks").glob("*.png"))
    write_mask(mask, read_mask(mask, None, 20)[::-1].copy())
    assert not score().is_done(before.record)
