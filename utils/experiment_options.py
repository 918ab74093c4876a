"""Options that say which experiment is meant."""

from dataclasses import dataclass
from pathlib import Path

from .flags import option


@dataclass(frozen=True, kw_only=True)
class ExperimentOptions:
    """Where an experiment is."""

    name: str = option(..., "name of the experiment: its files are in EXPERIMENTS/NAME")
    experiments: str = option("./experiment", "folder of all experiments")

    @property
    def folder(self) -> Path:
        """This experiment's folder; without a name, one that holds no run."""
        return Path(self.experiments) / self.name
