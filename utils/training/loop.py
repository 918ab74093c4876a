"""What both training loops do after each step: report, save, stop."""

from collections.abc import Callable

from ..errors import Stopped
from ..machine.distributed import barrier, most_urgent
from ..machine.interruptions import SAVE, Interruptions


def after_step(
    interruptions: Interruptions, report: Callable[[], None], save: Callable[[], None], reports: bool, saves: bool
) -> None:
    """Reports and saves if due, and stops if a signal asks for it. Every process calls it after every step.

    Args:
        interruptions: signals, and the interval between checkpoints.
        report: logs the losses since the last report; raises InputError for a loss that is not finite, before it is saved.
        save: writes a checkpoint that the training can be resumed from.
        reports, saves: whether a report or a checkpoint is due at this step, apart from requests.

    Raises:
        Stopped: any of the processes received a signal; the run is saved.
    """
    request = most_urgent(interruptions.request())
    if request or reports or saves:
        report()
    if request or saves:
        save()
        interruptions.has_saved()
    if request > SAVE:
        barrier()  # the launcher ends all processes when the first one exits, so none may exit before the others have saved
        raise Stopped(request)
