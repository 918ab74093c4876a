"""Writes all tables and plots of docs/ablation.md from the kept results: python -m benchmarks.ablation.tables"""

import argparse
import json
import re
from pathlib import Path

from utils.errors import InputError, run_script

from ..pages import write_between
from . import gradients, probe
from .page import differences_table, summary_table, write_beside
from .results import read_results

SUMMARY = "summary"
"""Name of the table that summarises the others."""


def main(args: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.ablation.tables", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--page", default="docs/ablation.md", help="page with <!-- NAME --> before each table; a folder beside it holds NAME"
    )
    page = Path(parser.parse_args(args).page)
    folder = page.with_suffix("")
    for path in sorted(folder.glob("*.jsonl")):
        write_beside(path, read_results(path))
    names = re.findall(rf"<!-- (\S+\.jsonl?|{SUMMARY}) -->", page.read_text(encoding="utf-8"))
    for name in names:
        write_between(page, f"<!-- {name} -->", "<!-- end -->", table_of(folder, name))
    print(f"{page}: {', '.join(names)}")


def table_of(folder: Path, name: str) -> str:
    """A table in Markdown, from the results in a folder.

    Raises:
        InputError: there are none of this name.
    """
    if name == SUMMARY:
        return summary_table({data: read_results(folder / f"{data}.jsonl") for data in ("toy", "photographs")})
    path = folder / name
    if not path.is_file():
        raise InputError(f"{path} is missing, of which the page shows a table")
    if path.suffix == ".jsonl":
        return differences_table(read_results(path))
    content = json.loads(path.read_text())
    return (gradients if "losses" in content else probe).markdown(content)


if __name__ == "__main__":
    run_script(main)
