"""Writes all tables and plots of docs/ablation.md from the kept results: python -m benchmarks.ablation.tables"""

import argparse
import json
from pathlib import Path

from utils.errors import run_script

from ..pages import write_tables
from . import gradients, probe
from .page import differences_table, write_beside
from .results import read_results

END = "<!-- end -->"


def main(args: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.ablation.tables", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--page", default="docs/ablation.md", help="page with <!-- NAME --> before each table; a folder beside it holds NAME"
    )
    page = Path(parser.parse_args(args).page)
    tables = {}
    for path in sorted(page.with_suffix("").glob("*.jsonl")):
        results = read_results(path)
        write_beside(path, results)
        tables[f"<!-- {path.name} -->"] = differences_table(results)
    for path in sorted(page.with_suffix("").glob("*.json")):
        content = json.loads(path.read_text())
        kind = gradients if "losses" in content else probe
        tables[f"<!-- {path.name} -->"] = kind.markdown(content)
    write_tables(page, tables, END)
    print(f"{page}: tables of {', '.join(name.strip('<!- >') for name in tables)}")


if __name__ == "__main__":
    run_script(main)
