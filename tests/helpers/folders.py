"""Files of a folder."""

from pathlib import Path


def states(folder: Path, pattern: str = "*.png") -> dict[str, tuple[int, int]]:
    """Inode and modification time of each file, which change when it is rewritten."""
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.rglob(pattern)}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
