"""The command line: parse, one library call, render, exit code. Heavy imports wait until a command runs."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn, TextIO

from lawsker_db.cli.interrupts import as_error, settle, treat_as_interrupt
from lawsker_db.cli.language import choose_language, localized
from lawsker_db.phrases import Phrase, said

if TYPE_CHECKING:
    from lawsker_db.errors import LawskerError


def main() -> NoReturn:
    """Run the command line and exit with a code of DESIGN's list. The last line of defence for errors of ours."""
    _keep_streams_open()
    logging.lastResort = None  # what libraries log when a connection is lost is a traceback; our own words say it
    treat_as_interrupt(signal.SIGTERM, signal.SIGHUP)
    choose_language(sys.argv[1:], os.environ)
    as_json = "--json" in sys.argv
    try:
        code = _run(as_json=as_json)
    except KeyboardInterrupt as interrupt:
        code = _show(as_error(interrupt), as_json=as_json)
    except SystemExit as early:
        code = early.code if isinstance(early.code, int) else 0
    except Exception as bug:  # noqa: BLE001 - the last line: no traceback reaches an operator
        code = _explain(bug, as_json=as_json)
    sys.exit(code)


def _run(*, as_json: bool) -> int:
    """Run the command that was typed; return its exit code.

    Without Typer's `main`, which turns an interrupt into a bare exit 130, so that nobody could say what it left behind.
    """
    import typer

    from lawsker_db.cli.app import app
    from lawsker_db.cli.completing import ASKED, complete
    from lawsker_db.errors import LawskerError

    command = localized(typer.main.get_command(app))
    if ASKED in os.environ:
        return complete(command)
    try:
        with command.make_context("lawsker-db", sys.argv[1:]) as context:
            command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except LawskerError as failed:
        return _show(failed, as_json=as_json)
    return 0


class _Stream(io.FileIO):
    """stdout or stderr that outlives its reader: what a command did, and so its exit code, does not hang on who listens.

    (Python itself ends with 120 when something is left that cannot be written.)
    """

    told = False

    def write(self, content: object) -> int:
        """Write; what cannot be written (head has gone, a full disk) is dropped, of stdout with a word on stderr."""
        try:
            return super().write(content)  # type: ignore[arg-type]
        except BrokenPipeError:
            pass
        except OSError as failed:
            if self.fileno() == 1 and not self.told:
                self.told = True
                with suppress(OSError):
                    words = Phrase("stdout cannot be written: {reason}", reason=failed.strerror or str(failed))
                    os.write(2, f"{said(words)}\n".encode())
        return len(content)  # type: ignore[arg-type]


def _keep_streams_open() -> None:
    """Fill closed standard streams with /dev/null, or the next file opened would take their place; harden stdout."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
    if sys.stdin is None:  # it was closed when Python started
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as the process lives
    sys.stdout = _hardened(1, sys.stdout)
    sys.stderr = _hardened(2, sys.stderr)


def _hardened(number: int, stream: TextIO | None) -> TextIO:
    """A stream over a file descriptor that drops what cannot be written, in the encoding that it had."""
    encoding = "utf-8" if stream is None else stream.encoding
    raw = io.BufferedWriter(_Stream(number, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace", line_buffering=True)


def _explain(failed: Exception, *, as_json: bool) -> int:
    """A wrong command line (exit 2) or a bug of ours (exit 1), in a sentence."""
    from lawsker_db.cli.mistyped import mistyped
    from lawsker_db.cli.render import show_bug
    from lawsker_db.errors import UNTOUCHED, Interrupted, UsageError

    if type(failed).__name__ == "Abort":
        stopped = Interrupted(
            Phrase("Stopped at the question."), hint=Phrase("type it with --yes if you mean it"), state=UNTOUCHED
        )
        return _show(stopped, as_json=as_json)
    if type(failed).__name__ == "NoArgsIsHelpError":
        failed.show()  # type: ignore[attr-defined]
        return UsageError.exit_code
    if hasattr(failed, "format_message"):
        command = getattr(getattr(failed, "ctx", None), "command_path", "lawsker-db")
        hint = Phrase("{command} --help lists what can be typed", command=command)
        return _show(UsageError(mistyped(failed, sys.argv[1:]), hint=hint), as_json=as_json)
    settle(1)
    show_bug(failed, as_json=as_json)
    return 1


def _show(failed: LawskerError, *, as_json: bool) -> int:
    """Show an error of ours; return its exit code."""
    settle(failed.exit_code)
    from lawsker_db.cli.render import show_error

    show_error(failed, as_json=as_json)
    return failed.exit_code
