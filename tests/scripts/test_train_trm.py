"""Training of DiG at its smallest: what it writes, what it repeats, what it refuses."""

import json
import logging
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from timm.scheduler import CosineLRScheduler, create_scheduler_v2

import infer_trm
import train_trm
from diffusion import build_denoiser
from models import LFCA_PREFIXES, build_dig
from tests.helpers.folders import states
from tests.helpers.small_runs import SMALL
from tests.helpers.small_runs import train_small as train
from tests.helpers.stopped import stop_in_second_epoch
from tests.helpers.weights import equal, transformer_weights
from utils.errors import InputError
from utils.experiment.folder import read_scores
from utils.options.training import TrainOptions
from utils.records import claim_file
from utils.training.checkpoint import save_file
from utils.training.engine import Training


def test_gradient_checkpoints_change_no_bit(tmp_path, toy_voc):
    kept, again = (
        train(tmp_path, toy_voc, name, f"--epochs 1 --start_epoch 0 --drop_path 0.5 --lfca_drop_path 0.5 {flag}")
        for name, flag in (("kept", ""), ("again", "--grad_checkpoint"))
    )
    assert equal(transformer_weights(kept), transformer_weights(again))


@pytest.mark.parametrize("flag", ["", "--grad_checkpoint", "--amp bf16"])
def test_updates_in_the_backward_pass_change_no_bit(tmp_path, toy_voc, flag):
    after, during = (
        train(tmp_path, toy_voc, name, f"--epochs 2 --start_epoch 0 --drop_path 0.5 {flag} {more}")
        for name, more in (("after", ""), ("during", "--update_in_backward"))
    )
    after, during = (torch.load(folder / "ckpt" / "last.pth", weights_only=True) for folder in (after, during))
    assert equal(after["model"], during["model"])
    moments, others = after["optimizer"]["state"], during["optimizer"]["state"]
    assert moments.keys() == others.keys()
    assert all(equal(moments[i], others[i]) for i in moments)


@pytest.mark.parametrize("other", ["--accum 2", "--amp fp16"])
def test_updates_in_the_backward_pass_need_gradients_that_are_final_by_then(tmp_path, toy_voc, other):
    with pytest.raises(InputError, match=f"--update-in-backward does not go with {other}, which changes gradients"):
        train(tmp_path, toy_voc, "run", f"--update_in_backward {other}")


def test_a_run_short_of_memory_may_be_resumed_with_less(tmp_path, toy_voc):
    whole = train(tmp_path, toy_voc, "whole", "--epochs 2")
    train(tmp_path, toy_voc, "run", "--epochs 2")
    (tmp_path / "run" / "ckpt" / "001net_trm.pth").unlink()
    (tmp_path / "run" / "ckpt" / "last.previous.pth").replace(tmp_path / "run" / "ckpt" / "last.pth")
    resumed = train(tmp_path, toy_voc, "run", "--resume --grad_checkpoint --update_in_backward")
    assert equal(transformer_weights(resumed, 1), transformer_weights(whole, 1))


def test_parts_that_do_not_divide_a_batch_are_refused(tmp_path, toy_voc):
    with pytest.raises(InputError, match="--accum 3 does not divide the 2 images of a step"):
        train(tmp_path, toy_voc, "run", "--accum 3")


def test_a_batch_in_parts_has_the_losses_of_the_whole(tmp_path, toy_voc):
    whole, parts = (
        logged(train(tmp_path, toy_voc, name, f"--epochs 1 --start_epoch 0 --lfca_drop_path 0 --batch_size 4 {flag}"))
        for name, flag in (("whole", ""), ("parts", "--accum 2"))
    )
    assert parts == pytest.approx(whole, abs=2e-4)  # of four digits


def logged(folder: Path) -> list[float]:
    """Losses of the first epoch."""
    line = next(line for line in (folder / "log.txt").read_text().splitlines() if "epoch 0 done" in line)
    return [float(word) for word in line.partition("done:")[2].split()[1::2]]


def test_the_last_epochs_and_the_best_one_are_kept(tmp_path, toy_voc):
    folder = train(tmp_path, toy_voc, "run", "--epochs 5 --val_from 0 --keep 2")
    scores = read_scores(folder)
    best = max(scores, key=lambda epoch: scores[epoch]["miou"])
    kept = {path.name for path in (folder / "ckpt").glob("*net_trm.pth")}
    assert kept == {f"{int(epoch):03d}net_trm.pth" for epoch in {best, "3", "4"}}


def test_a_run_writes_weights_options_log_and_events(tmp_path, toy_voc):
    folder = train(tmp_path, toy_voc, "run", "--epochs 2 --W 1 1 1 1 2")
    assert {p.name for p in (folder / "ckpt").iterdir()} == {
        "000net_trm.pth",
        "001net_trm.pth",
        "last.pth",
        "last.previous.pth",
    }
    assert list(folder.glob("events.*"))
    saved = json.loads((folder / "options.json").read_text())
    assert saved["options"]["W"] == [1, 1, 1, 1, 2]
    assert len(saved["classes"]) == 20
    log = (folder / "log.txt").read_text()
    assert "left out for having no label" in log
    assert "mIoU" in log


def test_validation_scores_cams_and_classification_in_log_events_and_file(tmp_path, toy_voc):
    folder = train(tmp_path, toy_voc, "run")
    scores = read_scores(folder)["0"]
    events = EventAccumulator(str(folder)).Reload()
    for name, key in (("mIoU", "miou"), ("mAP", "map"), ("F1", "f1"), ("threshold", "threshold")):
        assert events.Scalars(name)[0].value == pytest.approx(scores[key])
    cams = f"epoch 0 mIoU {scores['miou']:.2f} at threshold {scores['threshold']:.2f} on train"
    labels = f"mAP {scores['map']:.2f} (of the 5 classes of 20 that occur), F1 {scores['f1']:.2f}"
    assert f"{cams}; {labels}\n" in (folder / "log.txt").read_text()


def test_an_epochs_file_holds_what_inference_needs_and_no_more(tmp_path, toy_voc):
    state = transformer_weights(train(tmp_path, toy_voc, "run"))
    assert not any(name.startswith(LFCA_PREFIXES) for name in state)
    build_dig(20, lfca=False, image_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2).load_state_dict(state)


def test_training_changes_both_branches(tmp_path, toy_voc):
    folder = train(tmp_path, toy_voc, "run", "--epochs 2 --warmup-epochs 0 --weight-decay 0")
    before, after = transformer_weights(folder, 0), transformer_weights(folder, 1)
    assert not torch.equal(before["blocks.0.attn.qkv.weight"], after["blocks.0.attn.qkv.weight"])
    assert torch.equal(before["norm.weight"], after["norm.weight"])
    moments = torch.load(folder / "ckpt" / "last.pth", weights_only=True)["optimizer"]["state"]
    assert all(state["exp_avg"].any() for state in moments.values())


def test_the_same_seed_gives_the_same_bits_whatever_the_workers(tmp_path, toy_voc):
    runs = [train(tmp_path, toy_voc, f"workers{n}", f"--epochs 2 --drop-path 0.3 --num_workers {n}") for n in (0, 1, 3)]
    contents = [torch.load(run / "ckpt" / "last.pth", weights_only=True)["model"] for run in runs]
    assert equal(contents[0], contents[1])
    assert equal(contents[0], contents[2])


def test_a_trial_of_one_epoch_is_not_warned_of_its_schedule(caplog):
    logging.getLogger(CosineLRScheduler.__module__).setLevel(logging.NOTSET)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    CosineLRScheduler(optimizer, 1)
    assert len(caplog.records) == 1  # timm's
    train_trm.build_scheduler(optimizer, TrainOptions(name="x", epochs=1))
    assert len(caplog.records) == 1


def test_another_seed_gives_other_weights(tmp_path, toy_voc):
    assert not equal(
        transformer_weights(train(tmp_path, toy_voc, "a")),
        transformer_weights(train(tmp_path, toy_voc, "b", "--epochs 1 --seed 1")),
    )


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, toy_voc, monkeypatch):
    whole = train(tmp_path, toy_voc, "whole", "--epochs 3 --drop-path 0.3")

    original = Training.train_epoch

    def stop_in_the_last_epoch(training, loader, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return original(training, loader, epoch)

    monkeypatch.setattr(Training, "train_epoch", stop_in_the_last_epoch)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, toy_voc, "cut", "--epochs 3 --drop-path 0.3")
    monkeypatch.undo()
    train_trm.main(f"--name cut --experiments {tmp_path} --resume".split())  # the run knows its own options
    assert equal(transformer_weights(whole, 2), transformer_weights(tmp_path / "cut", 2))


def test_a_resumed_run_keeps_its_options(tmp_path, toy_voc):
    train(tmp_path, toy_voc, "run")
    before = (tmp_path / "run" / "options.json").read_text()
    with pytest.raises(InputError, match=r"options\.json: a resumed run keeps its options, and this one has --lr 0\.064"):
        train_trm.main(f"--name run --experiments {tmp_path} --resume --lr 1".split())
    assert (tmp_path / "run" / "options.json").read_text() == before


def test_there_must_be_something_to_resume(tmp_path, toy_voc):
    with pytest.raises(InputError, match=r"last\.pth is missing: there is no run to resume"):
        train(tmp_path, toy_voc, "run", "--resume")


def test_a_published_checkpoint_put_there_is_not_overwritten(tmp_path, toy_voc):
    published = tmp_path / "run" / "ckpt" / "019net_trm.pth"
    published.parent.mkdir(parents=True)
    published.write_bytes(b"published")
    with pytest.raises(InputError, match=r"019net_trm\.pth exists"):
        train(tmp_path, toy_voc, "run")
    assert published.read_bytes() == b"published"


def test_an_experiment_that_exists_is_not_overwritten_by_accident(tmp_path, toy_voc):
    folder = train(tmp_path, toy_voc, "run")
    before = transformer_weights(folder)
    with pytest.raises(InputError, match="--resume continues it as it was, --overwrite starts afresh"):
        train(tmp_path, toy_voc, "run", "--epochs 1 --seed 5")
    assert equal(before, transformer_weights(folder))
    train(tmp_path, toy_voc, "run", "--epochs 1 --seed 5 --overwrite")
    assert not equal(before, transformer_weights(folder))


def test_overwriting_removes_nothing_while_an_input_is_missing(tmp_path, toy_voc):
    folder = train(tmp_path, toy_voc, "run")
    with pytest.raises(InputError, match=r"nowhere\.pt is missing"):
        train(tmp_path, toy_voc, "run", f"--epochs 1 --overwrite --diffusion_weights {tmp_path}/nowhere.pt")
    assert (folder / "ckpt" / "last.pth").exists()


def test_learning_rates_are_those_of_timms_factory():
    options = TrainOptions(name="x")
    parameter = torch.nn.Parameter(torch.zeros(1))
    ours, theirs = (torch.optim.AdamW([parameter], lr=options.scaled_lr) for _ in range(2))
    schedule = train_trm.build_scheduler(ours, options)
    reference, _ = create_scheduler_v2(
        theirs, "cosine", num_epochs=60, min_lr=1e-5, warmup_epochs=5, warmup_lr=1e-6, warmup_prefix=False, cooldown_epochs=0
    )
    for epoch in range(60):
        schedule.step(epoch)
        reference.step(epoch)
        assert ours.param_groups[0]["lr"] == theirs.param_groups[0]["lr"]


def test_learning_rates_follow_the_papers_schedule():
    options = TrainOptions(name="x")
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=options.scaled_lr)
    schedule = train_trm.build_scheduler(optimizer, options)
    rates = []
    for epoch in range(60):
        schedule.step(epoch)
        rates.append(optimizer.param_groups[0]["lr"])
    peak = 5e-4 * 32 / 512
    cosine = 1e-5 + (peak - 1e-5) * (1 + torch.cos(torch.pi * torch.arange(60, dtype=torch.float64) / 60)) / 2
    assert rates[:5] == pytest.approx([1e-6 + e * (peak - 1e-6) / 5 for e in range(5)])
    assert rates[5:] == pytest.approx(cosine[5:].tolist())


def watched(monkeypatch, look) -> list:
    """What `look` finds of a `Training` before its first step and after each of them."""
    found, update = [], Training.update

    def updated(self, *rest):
        found.extend([] if found else [look(self)])
        losses = update(self, *rest)
        found.append(look(self))
        return losses

    monkeypatch.setattr(Training, "update", updated)
    return found


def test_averaged_weights_are_what_inference_gets(tmp_path, toy_voc, monkeypatch):
    seen = watched(monkeypatch, lambda training: training.step.net.head.bias.detach().clone())
    run = train(tmp_path, toy_voc, "run", "--epochs 2 --lr 10 --warmup_epochs 0 --ema_decay 0.9")
    average = seen[0]
    for value in seen[1:]:
        average = 0.9 * average + 0.1 * value
    assert (seen[-1] - average).abs().max() > 1e-3
    torch.testing.assert_close(transformer_weights(run, 1)["head.bias"], average)


def test_a_run_with_averaged_weights_that_was_stopped_ends_with_the_same_bits(tmp_path, toy_voc, monkeypatch):
    flags = "--epochs 2 --start_epoch 1 --ema_decay 0.5 --lr_by step"
    whole = train(tmp_path, toy_voc, "whole", flags)
    stop_in_second_epoch(monkeypatch, lambda: train(tmp_path, toy_voc, "cut", flags))
    train_trm.main(f"--name cut --experiments {tmp_path} --resume".split())
    assert equal(transformer_weights(whole, 1), transformer_weights(tmp_path / "cut", 1))


@pytest.mark.parametrize(("lr_by", "changes"), [("epoch", 2), ("step", None)])
def test_the_learning_rate_changes_by_epoch_or_by_step(lr_by, changes, tmp_path, toy_voc, monkeypatch):
    rates = watched(monkeypatch, lambda training: training.optimizer.param_groups[0]["lr"])
    train(tmp_path, toy_voc, "run", f"--epochs 2 --warmup_epochs 1 --batch_size 2 --lr_by {lr_by}")
    del rates[0]
    assert len(rates) > 2
    assert len(set(rates)) == (changes or len(rates))


@pytest.mark.parametrize("flags", ["--epochs 2", "--resume --epochs 2"])
def test_a_run_of_another_length_is_refused_with_the_reason(tmp_path, toy_voc, flags):
    folder = train(tmp_path, toy_voc, "run")
    before = states(folder, "*.pth")
    with pytest.raises(InputError, match=r"--epochs 1.*one cosine over all 1 epochs, so that 2 would .* starts afresh"):
        train(tmp_path, toy_voc, "run", flags)
    assert states(folder, "*.pth") == before


def test_a_run_of_one_epoch_is_no_reason_for_a_warning(tmp_path, toy_voc, caplog):
    train(tmp_path, toy_voc, "run", "--epochs 1")
    assert [record for record in caplog.records if record.name.startswith("timm")] == []


def test_the_same_images_are_in_tensorboard_at_every_validation(tmp_path, toy_voc):
    folder = train(tmp_path, toy_voc, "run", "--epochs 2 --val_from 0 --val_list train --W 1 0 0 0 0")
    reader = EventAccumulator(str(folder))
    reader.Reload()
    names = [name for name in reader.Tags()["images"] if name.startswith("cams/")]
    assert len(names) == 4
    steps = [[event.step for event in reader.Images(name)] for name in names]
    assert steps == [[event.step for event in reader.Scalars("mIoU")]] * 4


@pytest.mark.parametrize("again", ["", "--resume"])
def test_a_run_that_was_stopped_for_now_ends_with_the_same_bits(tmp_path, toy_voc, again):
    whole = train(tmp_path, toy_voc, "whole", "--epochs 3")
    part = train(tmp_path, toy_voc, "part", "--epochs 3 --until 1")
    assert [path.name for path in sorted(part.glob("ckpt/*net_trm.pth"))] == ["000net_trm.pth"]
    assert read_scores(part) == {}
    train(tmp_path, toy_voc, "part", f"--epochs 3 {again}")
    assert equal(transformer_weights(whole, 2), transformer_weights(part, 2))


def test_a_list_that_only_the_recipe_names_may_be_missing(tmp_path, toy_voc, capsys):
    (toy_voc / "ImageSets" / "Segmentation" / "val.txt").unlink()
    small = SMALL.replace("dig_nano", "dig_toy")
    train_trm.main(f"--name run --experiments {tmp_path} --data-path {toy_voc} {small} --epochs 1 --val-from 0".split())
    assert "VOC2012 has no list val: nothing is scored during training" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"val\.txt is missing"):
        train(tmp_path, toy_voc, "other", "--epochs 1 --val-list val")


def test_a_run_is_not_resumed_with_another_denoiser(tmp_path, toy_voc):
    torch.manual_seed(0)
    for name in ("one", "other"):
        save_file({"model": build_denoiser(8, 32).state_dict()}, tmp_path / f"{name}.pt")
    flags = f"--epochs 2 --diffusion_weights {tmp_path}"
    train(tmp_path, toy_voc, "run", f"{flags}/one.pt --until 1")
    with pytest.raises(InputError, match=r"last\.pth was trained with another denoiser than that of --diffusion-weights"):
        train(tmp_path, toy_voc, "run", f"{flags}/other.pt")
    (tmp_path / "one.pt").rename(tmp_path / "moved.pt")
    train(tmp_path, toy_voc, "run", f"{flags}/moved.pt")


def test_a_resume_without_a_check_of_images_keeps_their_white_level(tmp_path, toy_voc):
    folder = train(tmp_path, toy_voc, "run", "--epochs 2 --until 1")
    saved = json.loads((folder / "options.json").read_text())
    (folder / "options.json").write_text(json.dumps(saved | {"white_level": 65535.0}))
    train(tmp_path, toy_voc, "run", "--resume --check-data never")
    assert json.loads((folder / "options.json").read_text())["white_level"] == 65535
    infer_trm.main(f"--name run --experiments {tmp_path} --dict --device cpu --num_workers 0".split())
    assert '"white_level": 65535' in claim_file(folder / "dict").read_text()


def test_a_run_is_not_resumed_on_other_images_or_labels(tmp_path, toy_voc):
    train(tmp_path, toy_voc, "run", "--epochs 2 --until 1")
    listed = toy_voc / "ImageSets" / "Segmentation" / "train.txt"
    before = listed.read_text()
    listed.write_text("".join(reversed(before.splitlines(keepends=True))))
    with pytest.raises(InputError, match=r"last\.pth is of other training images, labels or classes than those there now"):
        train(tmp_path, toy_voc, "run", "--epochs 2")
    listed.write_text(before)
    train(tmp_path, toy_voc, "run", "--epochs 2")
