"""`python -m utils.report --name NAME` is `tools/report.py`, which knows the data sets that this package does without."""

from tools.report import main

from ..errors import run_script

run_script(main)
