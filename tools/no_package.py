"""What pip is told to build this repository with: nothing. See [build-system] in pyproject.toml."""

from typing import Any, NoReturn

REASON = (
    "DiG is a repository to run from, not a package to install: its folders models, datasets and utils would shadow others "
    "of these names. pip install -r requirements.txt installs what it needs; torch.hub.load(PATH, ..., source='local') "
    "loads it from elsewhere"
)


def refuse(*_args: Any, **_settings: Any) -> NoReturn:
    """Ends pip with one line."""
    raise SystemExit(REASON)


get_requires_for_build_wheel = get_requires_for_build_editable = get_requires_for_build_sdist = refuse
build_wheel = build_editable = build_sdist = refuse
