"""One clear line for the user instead of a traceback."""

import difflib
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterable

DEAD_LOADER = re.compile(r"DataLoader worker \(pid\(?s?\)? ?([\d, ]+)\) (is killed by signal: \w+|exited unexpectedly)")

GPU_MEMORY = re.compile(
    r"(CUDA|HIP) (error: )?out of memory|MPS backend out of memory|CU(BLAS|DNN|FFT|SPARSE|SOLVER)_STATUS_ALLOC_FAILED"
    r"|(Cuda|HIP) failure \d* ?'?out of memory|cudaErrorMemoryAllocation"
    r"|unable to find an engine to execute this computation",
    re.IGNORECASE,
)
"""Messages of the driver and the libraries about too little GPU memory, beside PyTorch's OutOfMemoryError.

cuDNN reports that it finds no engine when none fits into the free memory.
"""


class InputError(Exception):
    """Wrong input by the user: the message names file or flag, the cause, and what to do instead."""


class ProcessFailed(Exception):
    """Another process of the run failed, for a reason other than its input: the message says which one and how."""


class Stopped(Exception):
    """A signal asked the run to stop, and the run has saved its state."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


def did_you_mean(word: str, known: Iterable[str], nearness: float = 0.6) -> str:
    """A suggestion to append to a message about an unknown word.

    Args:
        word: as it was typed.
        known: the valid words.
        nearness: how similar two words must be, from 0 to 1.

    Returns:
        ` (did you mean 'sofa'?)`, or an empty string if no valid word is similar.
    """
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), folded, 1, nearness)
    return f" (did you mean {folded[near[0]]!r}?)" if near else ""


def memory_trouble(error: BaseException, advice: str = "try a smaller --batch-size") -> str | None:
    """One line for an error caused by too little memory, with advice; None for other errors."""
    # PyTorch reports a dead loader in a signal handler, which may interrupt saving; the error of saving then hides it.
    if error.__context__ is not None and (reason := memory_trouble(error.__context__, advice)):
        return reason
    text = str(error)
    if match := DEAD_LOADER.search(text):
        return f"a process that loads images ({match[1]}) {match[2]}, perhaps for lack of memory: try fewer --num_workers"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in text:
        return f"there is not enough memory: {advice}; fewer --num-workers also help, in commands with that flag"
    # Compared by name, because this module does not import PyTorch.
    if type(error).__name__ == "OutOfMemoryError" or GPU_MEMORY.search(text):
        return f"the GPU has too little memory: {advice}. {text.strip().splitlines()[0]}"
    return None


def innermost_message(error: InputError) -> str:
    """The message alone: an error from a loader's worker process includes that process's traceback."""
    return str(error).rstrip().rsplit("InputError: ", 1)[-1]


def run_script(main: Callable[[list[str]], None], memory_advice: str = "try a smaller --batch-size") -> None:
    """Runs a script's `main` on the command line and turns its errors into exit codes.

    Wrong input, a full disk or a folder without permission: one line and code 2. Too little memory or a failed process: one
    line and code 1. Ctrl-C: 130. SIGTERM: 143. With `--debug` the traceback is shown too.

    Args:
        main: takes the command line.
        memory_advice: what to do if memory runs out.
    """
    args = sys.argv[1:]
    debug = "--debug" in args
    try:
        main([arg for arg in args if arg != "--debug"])
    except InputError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {innermost_message(error)}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        # The system refused a file operation: a full disk, a folder that cannot be read or written to.
        if debug or error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if debug or not (reason := memory_trouble(error, memory_advice)):
            raise
        print(f"error: {reason}", file=sys.stderr)
        sys.exit(1)
    except ProcessFailed as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except Stopped as stop:
        print(stop, file=sys.stderr)
        sys.exit(128 + stop.number)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


def ignore_interrupt() -> None:
    """Initialiser of worker processes: only their parent handles Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
