"""Memory that this process has freed."""

import ctypes
import sys


def return_freed_memory() -> None:
    """Gives memory that was freed, but that glibc keeps for later, back to the system.

    Called before worker processes are forked: they start with all pages of their parent, and a page that the parent writes
    from then on exists once more for them.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
