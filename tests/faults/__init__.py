"""What goes wrong in the world, done to the scripts on purpose: kills, damaged and hostile files, full disks."""

from dataclasses import dataclass, field

SMALL_NETWORK = {"input_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
"""Options of the smallest network whose files are damaged."""


@dataclass(frozen=True)
class Tally:
    """How often something was tried, and how often the promise held."""

    tried: int
    survived: int
    failures: list[str] = field(default_factory=list)  # one line on each that did not
