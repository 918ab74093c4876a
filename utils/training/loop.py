"""Between two steps of any training: when to report, to save and to stop."""

from collections.abc import Callable

from ..errors import Stopped
from ..machine.distributed import barrier, most_urgent
from ..machine.interruptions import SAVE, Interruptions


def after_step(
    interruptions: Interruptions, report: Callable[[], None], save: Callable[[], None], reports: bool, saves: bool
) -> None:
    """Reports and saves where that is due, and stops where a signal asks for it. Every process calls it after every step.

    Args:
        interruptions: signals, and the clock that asks for a checkpoint every few minutes.
        report: logs the losses since the last report; raises InputError where one is not finite, before anything is saved.
        save: writes a checkpoint that the training can be resumed from.
        reports, saves: whether this step is due for it anyway.

    Raises:
        Stopped: a signal came to any of the processes; the run is saved.
    """
    request = most_urgent(interruptions.request())
    if request or reports or saves:
        report()
    if request or saves:
        save()
        interruptions.has_saved()
    if request > SAVE:
        barrier()  # no process leaves while another still saves: its launcher would end the others
        raise Stopped(request)
