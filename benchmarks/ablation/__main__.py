"""What each part of the method adds, in paired runs: python -m benchmarks.ablation

Each seed trains its first epochs with loss 1 alone, once. All rows go on from there, each with its own flags. The results
are kept in a file with a line of JSON for each run, so that the same command goes on where it was stopped, and further rows
and seeds are added to those that are there. `--runs 0` makes tables and plot from the results alone.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from utils.errors import InputError, run_script
from utils.log import progress
from utils.machine.cores import available_cores
from utils.machine.locks import writing

from .page import differences_table, runs_table, write_beside
from .results import read_results, require_same_plan
from .rows import ROWS
from .runs import Plan, run_row

MAIN_ROWS = ("baseline", "all", "lfca", "pac", "untrained", "blur")


def main(args: list[str]) -> None:
    # Options
    parser = argparse.ArgumentParser(prog="benchmarks.ablation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", nargs="+", default=MAIN_ROWS, help="names of the rows, in the order of their runs")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--flags", default="--exp dig_toy", help="flags of train_trm.py for all rows, in one string")
    parser.add_argument("--start-epochs", type=int, default=2, help="epochs of loss 1 alone that a seed's rows share")
    parser.add_argument("--score-list", default="val", help="list of the images whose CAMs are scored")
    parser.add_argument("--results", default="./experiment/ablation/toy.jsonl", help="results; tables and plot lie beside")
    parser.add_argument("--experiments", default="", help="folder of the runs; by default --results without its ending")
    parser.add_argument("--keep-checkpoints", action="store_true", help="keep each run's last one, 0.15 GB with dig_lite")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, which share the cores")
    parser.add_argument("--runs", type=int, default=-1, help="most runs of this call; -1: all that are missing")
    options = parser.parse_args(args)
    if unknown := [name for name in options.rows if name not in ROWS]:
        raise InputError(f"--rows {unknown[0]} is no row; there are {', '.join(ROWS)}")
    out = Path(options.results)
    done = {(result.row, result.seed) for result in read_results(out)}

    # Runs
    missing = [(name, seed) for name in options.rows for seed in options.seeds if (name, seed) not in done]
    missing = missing[: options.runs] if options.runs >= 0 else missing
    threads = max(1, available_cores() // options.jobs)
    experiments, flags = Path(options.experiments or out.with_suffix("")), tuple(options.flags.split())
    plan = Plan(experiments, flags, options.start_epochs, options.score_list, threads, options.keep_checkpoints)
    if missing:
        require_same_plan(read_results(out), flags, options.start_epochs, options.score_list)
    with writing(*[out] if missing else ()), ThreadPoolExecutor(options.jobs) as pool:
        tasks = [pool.submit(run_row, plan, ROWS[name], seed, out) for name, seed in missing]
        try:
            for task in progress(as_completed(tasks), "runs", len(tasks)):
                task.result()
        finally:
            pool.shutdown(cancel_futures=True)

    # Results
    results = read_results(out)
    write_beside(out, results)
    print(f"{runs_table(results)}\n{differences_table(results)}")
    print(f"{out.with_suffix('.md')} and {out.with_suffix('.svg')}")


if __name__ == "__main__":
    run_script(main)
