"""The rows of the ablation: what they are called, and by which flags of train_trm.py they differ."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Args:
        name: on the command line.
        title: in the table.
        flags: of train_trm.py.
        against: name of the row that it is compared with; its own if with none.
        whole: each run trains from its own first step, because the row differs before the shared epochs end.
    """

    name: str
    title: str
    flags: tuple[str, ...] = ()
    against: str = "baseline"
    whole: bool = False


NEVER = "1000000"
"""Start epoch of losses that are not to start. The network has the same parameters as in all other rows."""


def same(*sources: str) -> tuple[str, ...]:
    """Flags with which these sources of randomness are equal in all seeds."""
    return tuple(text for source in sources for text in (f"--{source}-seed", "0"))


ROWS = {
    row.name: row
    for row in (
        Row("baseline", "loss 1 alone", ("--guided-from", NEVER)),
        Row("all", "all losses"),
        Row("lfca", "losses 1, 2, 3: features through LFCA", ("--W", "cls_diff=0", "rcams_consistency=0")),
        Row("pac", "losses 1, 4, 5: denoised images", ("--W", "pred_diff=0", "cam_consistency=0")),
        Row("untrained", "all, denoiser untrained", ("--diffusion-weights", "random"), "all"),
        Row("blur", "all, a blur of equal PSNR for the denoised images", ("--guide", "blur"), "all"),
        Row("image", "all, the images themselves for the denoised ones", ("--guide", "image"), "all"),
        Row("stem", "all, features of the pretrained trunk for the denoiser's", ("--guide", "stem"), "all"),
        Row("exact", "all, a pass of the denoiser for each feature step", ("--guidance", "exact"), "all"),
        Row("shared", "all, one pass for all feature steps", ("--guidance", "shared"), "all"),
        Row("steps1", "all, features of step 0", ("--feature-steps", "0"), "all"),
        Row("steps3", "all, features of steps 0, 1, 2", ("--feature-steps", "0", "1", "2"), "all"),
        Row("late", "all, features of steps 50, 101, 150", ("--feature-steps", "50", "101", "150"), "all"),
        Row("wide", "all, a denoiser of twice the width", ("--diffusion-weights", "./pretrained/model-wide.pt"), "all"),
        Row("narrow", "all, a denoiser of half the width", ("--diffusion-weights", "./pretrained/model-narrow.pt"), "all"),
        Row("image50", "all, images denoised from step 50", ("--image-step", "50"), "all"),
        Row("image200", "all, images denoised from step 200", ("--image-step", "200"), "all"),
        Row("averaged", "loss 1 alone, averaged weights", ("--guided-from", NEVER, "--ema-decay", "0.99"), whole=True),
        Row("longer", "loss 1 alone, 10 epochs", ("--guided-from", NEVER, "--epochs", "10"), whole=True),
        *(
            Row(name, f"loss 1 alone, {what} differ", ("--guided-from", NEVER, *same(other, "noise")), name, whole=True)
            for name, what, other in (("weights", "initial weights", "images"), ("images", "order and crops", "weights"))
        ),
        Row("noise", "all losses, noise and stochastic depth differ", same("weights", "images"), "noise", whole=True),
    )
}
