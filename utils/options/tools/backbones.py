"""Options of the command that lists transformers."""

from dataclasses import dataclass

from ..flags import check_ranges, option


@dataclass(frozen=True, kw_only=True)
class BackboneOptions:
    """`python -m tools.backbones`."""

    filter: str = option("*", "names to list, with * for any letters, such as '*dino*'")

    def __post_init__(self) -> None:
        check_ranges(self)
