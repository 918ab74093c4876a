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
"""What the driver and the libraries say of too little memory, beside PyTorch's OutOfMemoryError.

Where cuDNN finds no engine, none of them had the room that it needs.
"""


class InputError(Exception):
    """Something the user gave is wrong: the message names file or flag, the cause, and what else will do."""


class ProcessFailed(Exception):
    """Another process of the run failed, not through its input: the message says which one and how."""


class Stopped(Exception):
    """A signal asked the run to stop, and it has saved what it had."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about a word that is unknown: what was most likely meant, or nothing.

    Args:
        word: as it was typed.
        known: what it could have been.

    Returns:
        ` (did you mean 'sofa'?)`, or an empty string where nothing is near.
    """
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), folded, 1)
    return f" (did you mean {folded[near[0]]!r}?)" if near else ""


def memory_trouble(error: BaseException, advice: str = "try a smaller --batch-size") -> str | None:
    """One line on an error that means too little memory, with what to do about it; None for others."""
    # A signal may tell of a dead loader in the middle of saving, which then fails in its own way.
    if error.__context__ is not None and (reason := memory_trouble(error.__context__, advice)):
        return reason
    text = str(error)
    if match := DEAD_LOADER.search(text):
        return f"a process that loads images ({match[1]}) {match[2]}, perhaps for lack of memory: try fewer --num_workers"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in text:
        return f"there is too little memory: {advice}; --num-workers, where it is a flag, also takes fewer"
    # PyTorch's own class goes by its name: this module does without PyTorch.
    if type(error).__name__ == "OutOfMemoryError" or GPU_MEMORY.search(text):
        return f"the GPU has too little memory: {advice}. {text.strip().splitlines()[0]}"
    return None


def innermost_message(error: InputError) -> str:
    """What is wrong; an error from a loader's worker process arrives with that process's traceback around it."""
    return str(error).rstrip().rsplit("InputError: ", 1)[-1]


def run_script(main: Callable[[list[str]], None], memory_advice: str = "try a smaller --batch-size") -> None:
    """Runs a script's `main` on the command line and turns its errors into exit codes.

    Wrong input ends with one line and code 2, the failure of a process with 1, Ctrl-C with 130, SIGTERM with 143; `--debug`
    shows the traceback of wrong input as well. So do a full disk, a folder that cannot be written to, and too little memory.

    Args:
        main: takes the command line.
        memory_advice: what to do where memory runs out.
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
        # Whatever the system refuses: a full disk, a folder that cannot be read or written to.
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
    """Initialiser of worker processes: Ctrl-C is their parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
