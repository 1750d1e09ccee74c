"""Run a command-line tool so that the state of its output causes no stack trace.

The reader of a pipe may end first, the disk behind the output may be full, the output may be closed, or its
encoding may lack the characters of the text.
"""

import codecs
import contextlib
import errno
import locale
import os
import sys
from collections.abc import Callable

_STANDARD_STREAMS = (0, 1, 2)
_OUTPUT_ERRORS = {errno.ENOSPC, errno.EIO, errno.EDQUOT}
_ASCII_TEXTS = {"✓": "+", "✗": "x", "…": "...", "→": "->", "–": "-", "±": "+-", "·": "*", "×": "x"}
_ERROR_HANDLER = "ascii-fallback"


def run_tool(tool: Callable[[], int]) -> int:
    """Run the tool and return its exit code: 0 if the reader of its output has ended, 1 if it is full."""
    _open_closed_streams()
    codecs.register_error(_ERROR_HANDLER, _replace_by_ascii)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a test may have replaced the stream
            encoding = "ascii" if stream.isatty() and _is_ascii_locale() else None
            stream.reconfigure(encoding=encoding, errors=_ERROR_HANDLER)  # type: ignore[union-attr]
    try:
        exit_code = tool()
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return 0
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS:
            raise
        _discard_output()
        with contextlib.suppress(OSError):
            sys.stderr.write(f"error: cannot write the output: {error.strerror}\n")
        return 1
    return exit_code


def _is_ascii_locale() -> bool:
    """Return whether the locale is C by choice; Python writes UTF-8 nevertheless (PEP 540)."""
    return codecs.lookup(locale.getencoding()).name == "ascii" and "PYTHONIOENCODING" not in os.environ


def _open_closed_streams() -> None:
    """Connect closed standard streams with the null device.

    Otherwise the next opened file would get the number of the closed one, and output would go there.
    """
    for number in _STANDARD_STREAMS:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - open until the process ends
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - open until the process ends


def _replace_by_ascii(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that the encoding lacks: an error handler of `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(_ASCII_TEXTS.get(character, "?") for character in characters), error.end


def _discard_output() -> None:
    """Let the interpreter's last flush succeed."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
