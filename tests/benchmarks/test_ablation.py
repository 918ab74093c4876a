"""The ablation: branches of a start, paired differences, results as data, table and plot."""

import dataclasses
import json
import math
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

import train_trm
from benchmarks.ablation import __main__ as ablation
from benchmarks.ablation import tables
from benchmarks.ablation.page import differences_table, plot, runs_table, summary_table
from benchmarks.ablation.pairs import difference, mious, t95
from benchmarks.ablation.results import Result, add_result, read_results
from benchmarks.ablation.rows import ROWS
from benchmarks.ablation.runs import Plan, branch
from benchmarks.ablation.scoring import recent_miou, result_of
from diffusion import build_denoiser
from models import LFCA_PREFIXES
from tests.helpers.small_runs import SMALL
from utils.errors import InputError
from utils.options.flags import parse_options
from utils.options.recipes import recipe
from utils.options.training import TrainOptions
from utils.scoring.metrics import ThresholdSweep
from utils.training.checkpoint import save_file

SCORED = {"miou": 0.0, "threshold": 0.4, "map": 90.0, "f1": 0.5}


def result(row: str, seed: int, miou: float, areas=None) -> Result:
    return Result(row, seed, "", "abc", miou, 2, 0.4, map=90.0, areas=areas or {})


def sweeps(seed: int, images: int = 5) -> dict[str, ThresholdSweep]:
    rng = np.random.default_rng(seed)
    found = {}
    for i in range(images):
        found[f"image{i}"] = sweep = ThresholdSweep(2)
        sweep.add({c: rng.random((8, 8), np.float32) for c in range(2)}, rng.integers(0, 3, (8, 8)).astype(np.uint8))
    return found


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_every_row_is_a_training_that_the_script_accepts(row):
    options = parse_options(TrainOptions, ["--name", "x", *row.flags], "", "", recipe("dig_lite").train)
    assert options.epochs > options.start_epoch
    assert row.against in ROWS


def branched(tmp_path, toy_voc, row: str, more: str = "") -> tuple[list[str], list[str]]:
    """Flags of a row's run of its own, and of its branch from a start of one epoch, which is made here."""
    flags = f"{SMALL} --data-path {toy_voc} --epochs 3 --start-epoch 1 --ema_decay 0.5 {more}".split()
    plan = Plan(tmp_path, tuple(flags), 1, "val", 1)
    train_trm.main([*plan.command_line("start-3", 3), "--until", "1"])
    own, from_start = (plan.command_line(name, 3, ROWS[row].flags) for name in ("whole", "branch"))
    branch(tmp_path / "start-3", train_trm.parse(from_start))
    return own, from_start


def last(folder) -> dict[str, torch.Tensor]:
    return torch.load(folder / "ckpt" / "last.pth", weights_only=True)["model"]


@pytest.mark.parametrize("row", ["all", "baseline"])
def test_a_branch_ends_with_the_bits_of_a_run_of_its_own(tmp_path, toy_voc, row):
    own, from_start = branched(tmp_path, toy_voc, row)
    train_trm.main(own)
    train_trm.main(from_start)
    whole, other = last(tmp_path / "whole"), last(tmp_path / "branch")
    assert whole.keys() == other.keys()
    assert all(torch.equal(whole[name], other[name]) for name in whole)


@pytest.mark.parametrize("row", ["pac", "steps1"])
def test_a_branch_with_another_lfca_shares_all_other_weights_and_trains(tmp_path, toy_voc, row):
    _, from_start = branched(tmp_path, toy_voc, row)
    start, before = last(tmp_path / "start-3"), last(tmp_path / "branch")
    shared = [name for name in start if not name.startswith(LFCA_PREFIXES)]
    assert all(torch.equal(start[name], before[name]) for name in shared)
    train_trm.main(from_start)
    assert not torch.equal(last(tmp_path / "branch")["head.weight"], before["head.weight"])


def test_a_branch_may_have_another_denoiser_than_its_start(tmp_path, toy_voc):
    torch.manual_seed(0)
    save_file({"model": build_denoiser(8, 32).state_dict()}, tmp_path / "denoiser.pt")
    _, from_start = branched(tmp_path, toy_voc, "untrained", f"--diffusion-weights {tmp_path / 'denoiser.pt'}")
    train_trm.main(from_start)
    assert (tmp_path / "branch" / "ckpt" / "002net_trm.pth").exists()


def test_each_source_of_randomness_has_a_seed_of_its_own(tmp_path, toy_voc):
    def weights(name: str, *seeds: str) -> list[torch.Tensor]:
        train_trm.main([*f"--name {name} --experiments {tmp_path} {SMALL} --data-path {toy_voc} --epochs 1".split(), *seeds])
        return list(last(tmp_path / name).values())

    named = ("--weights-seed", "--images-seed", "--noise-seed")
    same = [text for flag in named for text in (flag, "3")]
    whole = weights("whole", "--seed", "3")
    assert all(map(torch.equal, whole, weights("apart", "--seed", "4", *same)))
    for flag in named:
        assert not all(map(torch.equal, whole, weights(flag.strip("-"), "--seed", "3", flag, "4")))


def test_a_start_in_which_lfca_has_learnt_is_refused(tmp_path, toy_voc):
    plan = Plan(tmp_path, (*SMALL.split(), "--data-path", str(toy_voc), "--epochs", "3"), 1, "val", 1)
    train_trm.main([*plan.command_line("start-0", 0), "--until", "2"])
    with pytest.raises(InputError, match="LFCA has learnt already"):
        branch(tmp_path / "start-0", train_trm.parse(plan.command_line("all-0", 0)))


def test_quantiles_are_those_of_students_t():
    for degrees in range(1, 31):
        assert t95(degrees) == pytest.approx(scipy.stats.t.ppf(0.975, degrees), abs=6e-4)
    assert t95(100) == pytest.approx(scipy.stats.t.ppf(0.975, 100), abs=0.01)


def test_a_difference_is_that_of_a_paired_t_test():
    rows = [
        [result(row, seed, miou) for seed, miou in enumerate(mious)] for row, mious in (("a", (3, 5, 9)), ("b", (1, 4, 6)))
    ]
    found = difference(*rows)
    expected = scipy.stats.ttest_rel((3, 5, 9), (1, 4, 6)).confidence_interval(0.95)
    assert found.mean == pytest.approx(2)
    assert found.mean - found.half_width == pytest.approx(expected.low, abs=1e-3)
    seeds = found.seeds_for(1)
    assert t95(seeds - 1) * found.deviation / math.sqrt(seeds) <= 1 < t95(seeds - 2) * found.deviation / math.sqrt(seeds - 1)


def test_only_seeds_that_both_rows_have_are_compared():
    found = difference([result("a", 1, 5.0), result("a", 2, 7.0)], [result("b", 2, 6.0), result("b", 3, 0.0)])
    assert found.by_seed == {2: 1.0}
    assert math.isnan(found.half_width)
    with pytest.raises(ValueError, match="no seed in common"):
        difference([result("a", 1, 5.0)], [result("b", 2, 5.0)])


def test_the_areas_of_a_run_give_its_miou():
    counted = sweeps(0)
    found = result_of(counted, 90.0)
    whole = ThresholdSweep(2)
    whole.counts = sum(sweep.counts for sweep in counted.values())
    assert found.miou == pytest.approx(whole.scores().miou.max())
    assert mious(found, list(found.areas), np.ones((1, 5), int)) == pytest.approx([found.miou])


def test_the_interval_over_images_holds_the_difference_and_none_for_equal_rows():
    a, b = (dataclasses.replace(result_of(sweeps(seed, 40), 90.0), seed=1) for seed in (0, 1))
    low, high = difference([a], [b]).image_interval
    assert low < a.miou - b.miou < high
    assert difference([a], [a]).image_interval == (0, 0)


def test_results_are_read_as_they_were_added(tmp_path):
    results = [result("all", seed, 40.0 + seed, {"x": {"0": [1, 2, 3]}}) for seed in range(2)]
    for one in results:
        add_result(tmp_path / "results.jsonl", one)
    assert read_results(tmp_path / "results.jsonl") == results
    (tmp_path / "results.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"results\.jsonl cannot be read"):
        read_results(tmp_path / "results.jsonl")


def test_the_tables_hold_paired_differences_and_every_run_and_the_plot_a_dot_for_every_pair():
    results = [result("baseline", seed, 40.0 + seed) for seed in range(3)]
    results += [result("all", seed, 41.0 + 2 * seed) for seed in range(3)]
    results += [result("untrained", 2, 46.0), result("weights", 2, 47.0)]
    assert differences_table(results).splitlines()[2:] == [
        "| all losses (`all`) | 3 | +2.00 ± 2.48 | 1.00 | 7 |  |",
        "| all, denoiser untrained (`untrained`) | 1 | +4.00 |  |  | +1.00 |",
    ]
    rows = runs_table(results).splitlines()
    assert rows[2:4] == [
        "| loss 1 alone | 41.00 ± 1.00 | 40.00 | 41.00 | 42.00 |",
        "| all losses | 43.00 ± 2.00 | 41.00 | 43.00 | 45.00 |",
    ]
    tree = ElementTree.fromstring(plot(results))
    assert len(tree.findall(".//{http://www.w3.org/2000/svg}circle")) == 4


def test_the_summary_has_the_pairs_of_each_data_set():
    toy = [result(row, seed, miou) for row, miou in (("baseline", 40.0), ("all", 42.0)) for seed in range(2)]
    rows = summary_table({"toy": toy, "photographs": toy[:3]}).splitlines()
    assert rows[0] == "| | toy | photographs |"
    assert rows[2] == "| all losses, minus loss 1 alone | +2.00 ± 0.00 (2 pairs) | +2.00 (1 pairs) |"
    assert len(rows) == 3


def test_a_table_without_results_is_refused_by_name(tmp_path):
    (tmp_path / "page.md").write_text("<!-- rows.jsonl -->\n<!-- end -->\n")
    with pytest.raises(InputError, match=r"rows\.jsonl is missing, of which the page shows a table"):
        tables.main(["--page", str(tmp_path / "page.md")])


def test_the_table_of_runs_has_the_mean_of_the_last_epochs_where_they_were_scored(tmp_path):
    scored = [dataclasses.replace(result("baseline", seed, 40.0 + seed), recent=39.0 + seed) for seed in range(2)]
    rows = runs_table([*scored, result("all", 0, 41.0)]).splitlines()
    assert rows[0].startswith("| row | mIoU in % | validation, last 3 epochs | seed 0 |")
    assert rows[2] == "| loss 1 alone | 40.50 ± 0.71 | 39.50 ± 0.71 | 40.00 | 41.00 |"
    assert rows[3] == "| all losses | 41.00 |  | 41.00 |  |"
    (tmp_path / "scores.json").write_text(json.dumps({str(e): SCORED | {"miou": 10.0 * e} for e in (2, 3, 9, 10)}))
    assert recent_miou(tmp_path) == pytest.approx(220 / 3)
    (tmp_path / "scores.json").write_text(json.dumps({"9": SCORED | {"miou": 10.0}}))
    assert recent_miou(tmp_path) is None


def test_the_page_holds_what_its_command_makes_of_the_kept_results(tmp_path):
    docs = Path(__file__).parents[2] / "docs"
    shutil.copytree(docs / "ablation", tmp_path / "ablation")
    shutil.copy(docs / "ablation.md", tmp_path)
    tables.main(["--page", str(tmp_path / "ablation.md")])
    assert (tmp_path / "ablation.md").read_text() == (docs / "ablation.md").read_text()
    for path in (docs / "ablation").iterdir():
        assert (tmp_path / "ablation" / path.name).read_bytes() == path.read_bytes()


def test_runs_that_are_done_are_not_made_again(monkeypatch, tmp_path):
    trained = []

    def run_row(plan, row, seed, out):
        trained.append(row.name)
        settings = {
            "flags": " ".join((*plan.flags, *row.flags)),
            "start_epochs": plan.start_epochs,
            "score_list": plan.score_list,
        }
        add_result(out, dataclasses.replace(result(row.name, seed, 40.0), **settings))

    monkeypatch.setattr(ablation, "run_row", run_row)
    flags = ["--results", str(tmp_path / "results.jsonl"), "--rows", "baseline", "all"]
    ablation.main([*flags, "--seeds", "1", "--runs", "1"])
    assert trained == ["baseline"]
    ablation.main([*flags, "--seeds", "1", "2"])
    assert trained[1:] == ["baseline", "all", "all"]
    ablation.main([*flags, "--seeds", "1", "2"])
    assert len(trained) == 4
    assert "| loss 1 alone | 40.00 ± 0.00 | 40.00 | 40.00 |" in (tmp_path / "results.md").read_text()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("--flags=--exp dig_toy --lr 1", "hold baseline with seed 0 of --flags '--exp dig_toy'"),
        ("--flags=", "hold baseline with seed 0 of --flags '--exp dig_toy'"),
        ("--flags=--exp=dig_lite", "hold baseline with seed 0 of --flags '--exp dig_toy'"),
        ("--score-list=train", "hold baseline with seed 0 of --start-epochs 2 --score-list val"),
        ("--start-epochs=3", "hold baseline with seed 0 of --start-epochs 2 --score-list val"),
    ],
)
def test_runs_of_another_plan_are_not_added(tmp_path, other, message):
    results = tmp_path / "results.jsonl"
    flags = " ".join(("--exp dig_toy", *ROWS["baseline"].flags))
    settings = {"flags": flags, "start_epochs": 2, "score_list": "val"}
    add_result(results, dataclasses.replace(result("baseline", 0, 40.0), **settings))
    with pytest.raises(InputError, match=message):
        ablation.main(["--results", str(results), "--rows", "baseline", "--seeds", "1", other])


def test_an_unknown_row_is_refused():
    with pytest.raises(InputError, match="--rows magic is no row; there are baseline, all"):
        ablation.main(["--rows", "magic"])
