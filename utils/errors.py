"""One clear line for the user instead of a traceback."""

import sys
import traceback
from collections.abc import Callable


class InputError(Exception):
    """Something the user gave is wrong: the message names file or flag, the cause, and what else will do."""


def run_script(main: Callable[[list[str]], None]) -> None:
    """Runs a script's `main` on the command line and turns its errors into exit codes.

    Wrong input ends with one line and code 2, Ctrl-C with 130; `--debug` shows the traceback as well.
    """
    args = sys.argv[1:]
    debug = "--debug" in args
    try:
        main([arg for arg in args if arg != "--debug"])
    except InputError as error:
        if debug:
            traceback.print_exc()
        # An error from a loader's worker process arrives with that process's traceback around it.
        message = str(error).rstrip().rsplit("InputError: ", 1)[-1]
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
