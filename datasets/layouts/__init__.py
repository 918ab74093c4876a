"""Layouts of data sets on disk, one a file: every `Layout` that a file of this folder defines is known by that alone."""

import importlib
import pkgutil

for module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{module.name}")
