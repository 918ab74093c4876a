"""Tables of all flags for the README, from the options themselves: python -m utils.flag_tables rewrites them there."""

import dataclasses
import re
from pathlib import Path

from .flags import flag_name, show
from .options import DenoiserOptions, EvaluationOptions, InferOptions, TrainOptions
from .recipes import RECIPES

SCRIPTS = {
    "train_trm.py": TrainOptions,
    "train_diffusion.py": DenoiserOptions,
    "infer_trm.py": InferOptions,
    "evaluation.py": EvaluationOptions,
}
README = Path(__file__).parents[1] / "README.md"


def flag_table(cls: type) -> str:
    """A Markdown table of one script's flags, with the values that the small recipe puts in place of the defaults."""
    recipe = {"TrainOptions": RECIPES["dig_nano"].train, "DenoiserOptions": RECIPES["dig_nano"].denoiser}.get(cls.__name__)
    head = ["flag", "default", *(["`dig_nano`"] if recipe else []), "meaning"]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for f in dataclasses.fields(cls):
        if f.default is dataclasses.MISSING:
            default = "required"
        elif f.type is bool:
            default = "off"
        else:
            default = f"`{show(f.default)}`" if f.default not in ("", ()) else ""
        choices = f" ({', '.join(f.metadata['choices'])})" if f.metadata["choices"] else ""
        meaning = f.metadata["help"].replace("<", "\\<") + choices  # Markdown would take <epoch> for a tag
        other = [f"`{show(recipe[f.name])}`" if f.name in recipe else ""] if recipe else []
        rows.append(f"| `{flag_name(f.name)}` | " + " | ".join([default, *other, meaning]) + " |")
    return "\n".join(rows)


def with_tables(text: str) -> str:
    """The README's text with its tables made anew, each between a pair of markers."""
    for script, cls in SCRIPTS.items():
        block = f"<!-- flags of {script} -->\n{flag_table(cls)}\n<!-- end -->"
        text, count = re.subn(
            rf"<!-- flags of {re.escape(script)} -->.*?<!-- end -->", lambda _, block=block: block, text, flags=re.DOTALL
        )
        if count != 1:
            raise ValueError(f"README.md has {count} tables marked for {script}, not one")
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
