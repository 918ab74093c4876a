"""Layouts of data sets on disk, one per file; defining a `Layout` in a file of this folder also registers it."""

import importlib
import pkgutil

for module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{module.name}")
