"""What goes wrong in the world, done to the scripts on purpose: kills, damaged and hostile files, full disks."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tally:
    """How often something was tried, and how often the promise held."""

    tried: int
    survived: int
    failures: list[str] = field(default_factory=list)  # one line on each that did not
