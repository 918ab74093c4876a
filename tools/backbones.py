"""Transformers of timm that --backbone takes: python -m tools.backbones --filter '*dino*'"""

from utils.command_line import check_flags
from utils.options.tools.backbones import BackboneOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(BackboneOptions)

from collections.abc import Iterator
from dataclasses import dataclass

import timm

from models.backbones import FAMILIES, family_of, num_registers, on_meta, patch_side, plain
from utils.errors import InputError, run_script
from utils.options.flags import parse_options

MODULES = ("deit", "vision_transformer", "eva")
"""Modules of timm that define plain vision transformers."""
SIDE = 224
"""Pixels of a square image whose patches are counted."""
NOTE = """Checked: tests compare a small one of the family with timm's own,
to 1e-5 in tokens, logits and gradients. At 224: patches + registers of an image of 224 x 224 pixels; a token for each class
comes to them. NAME.TAG as --backbone names weights; NAME alone takes the first of timm's."""


@dataclass(frozen=True)
class Row:
    """A row of the table: one model."""

    name: str
    families: tuple[str, ...]  # of its weights; empty: none that tests compare with timm's own
    parameters: int
    patch_size: int
    num_registers: int
    weights: tuple[str, ...]  # tags of the weights that timm downloads

    @property
    def num_patches(self) -> int:
        """Number of patches of an image of `SIDE` x `SIDE` pixels."""
        return (SIDE // self.patch_size) ** 2

    def __str__(self) -> str:
        patches = f"{self.num_patches} + {self.num_registers}" if self.num_registers else str(self.num_patches)
        size = f"{self.parameters / 1e6:.1f} M"
        families = ", ".join(self.families) or "-"
        cells = (f"{self.name:48}", f"{size:>9}", f"{self.patch_size:5}", f"{patches:>10}", f"{families:17}")
        return "  ".join((*cells, " ".join(self.weights) or "-"))


def main(args: list[str]) -> None:
    # Options
    options = parse_options(BackboneOptions, args, "python -m tools.backbones", __doc__)

    # Models
    names = [name for module in MODULES for name in timm.list_models(options.filter, module=module)]
    found = sorted(rows(names), key=order)
    if not found:
        raise InputError(f"--filter {options.filter} matches no plain vision transformer of timm")

    # Table
    print(f"{'name':48}  {'size':>9}  {'patch':>5}  {'at 224':>10}  {'checked as':17}  weights of timm")
    for row in found:
        print(row)
    print(f"\n{len(found)} transformers, {sum(bool(row.families) for row in found)} of them checked. {NOTE}")


def rows(names: list[str]) -> Iterator[Row]:
    """A row for each model that can have one token per class."""
    tags: dict[str, list[str]] = {}
    for full_name in timm.list_pretrained():
        name, _, tag = full_name.partition(".")
        tags.setdefault(name, []).append(tag)
    for name in names:
        built = on_meta(name, num_classes=0)
        try:
            model = plain(built)
        except ValueError:
            continue
        spellings = (name, *(f"{name}.{tag}" for tag in tags.get(name, ())))
        families = {family.name: None for family in map(family_of, spellings) if family}
        parameters = sum(parameter.numel() for parameter in model.parameters())
        yield Row(name, tuple(families), parameters, patch_side(model), num_registers(model), tuple(tags.get(name, ())))


def order(row: Row) -> tuple[int, int, str]:
    """Sort key: families in the order of `FAMILIES`, other models last; small models first."""
    names = [family.name for family in FAMILIES]
    return names.index(row.families[0]) if row.families else len(names), row.parameters, row.name


if __name__ == "__main__":
    run_script(main)
