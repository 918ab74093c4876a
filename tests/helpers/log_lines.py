"""Lines of a training's log."""


def log_line(epoch: int, step: int, losses: str, steps: int = 10) -> str:
    """A report of losses, such as `total 0.5 cls 0.5`."""
    return f"2026-01-01 00:00:00,000 epoch {epoch} step {step}/{steps} lr 0.01 {losses} 0.10 s/step"
