"""Commands on the files of an experiment, run as python -m tools.NAME."""
