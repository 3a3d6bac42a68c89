"""A terminal that a command is typed on: a pseudo-terminal, and an emulator (pyte) that tells what stands on the screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyte
from command_line import LAWSKER_DB, SLOW_S, environment, eventually

ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>])")
CTRL_C = b"\x03"
BACK = "\x1b[?1049l"  # the screen of its own is left


class Terminal:
    """A command under way on a terminal of its own. What it wrote is read all the time, so that it never waits for us."""

    def __init__(self, typed: Sequence[str], folder: Path, variables: dict[str, str], columns: int, rows: int) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._raw = bytearray()
        self._lock = threading.Lock()
        self._master, slave = pty.openpty()
        self._set_size(columns, rows)
        # setsid makes it the controlling terminal: Ctrl-C and a change of its size reach the command as signals.
        self.child = subprocess.Popen(
            ["setsid", "--ctty", *typed], cwd=folder, env=variables, stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self._master, 65536)
            except OSError:  # nobody has the other end open any more
                return
            if not piece:
                return
            with self._lock:
                self._raw += piece
                self._stream.feed(piece)

    def lines(self) -> list[str]:
        """What stands on the screen now."""
        with self._lock:
            return [line.rstrip() for line in self._screen.display]

    def cells(self, row: int) -> list[str]:
        """The cells of a row; behind a character that takes two stands an empty one."""
        with self._lock:
            return [self._screen.buffer[row][column].data for column in range(self._screen.columns)]

    def raw(self) -> str:
        """Everything it has written, with its escape sequences."""
        with self._lock:
            return self._raw.decode(errors="replace")

    def text(self) -> str:
        """Everything it has written since its screen of its own was left, as plain text."""
        return ESCAPES.sub("", self.raw().rpartition(BACK)[2]).replace("\r\n", "\n")

    def shows(self, *words: str) -> bool:
        """Whether all these stand on the screen, wherever lines were folded."""
        seen = " ".join(" ".join(self.lines()).split())
        return all(" ".join(word.split()) in seen for word in words)

    def wait_for(self, *words: str) -> None:
        """Until the screen shows all of these."""
        assert eventually(lambda: self.shows(*words)), f"{words} not in\n" + "\n".join(self.lines())

    def wait_without(self, *words: str) -> None:
        """Until the screen shows none of these."""
        assert eventually(lambda: not any(self.shows(word) for word in words)), "\n".join(self.lines())

    def press(self, keys: bytes) -> None:
        """Type on it."""
        os.write(self._master, keys)

    def resize(self, columns: int, rows: int) -> None:
        """Pull the window to another size."""
        with self._lock:
            self._screen.resize(rows, columns)
        self._set_size(columns, rows)

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def end(self) -> int:
        """Wait for the end of the command, and until all it wrote is read; its exit code."""
        code = self.child.wait(SLOW_S)
        self._reader.join(SLOW_S)
        return code

    def close(self) -> None:
        """End it if it has not ended."""
        self.child.kill()
        self.child.wait()
        self._reader.join(SLOW_S)
        os.close(self._master)


@contextmanager
def terminal(
    folder: Path, *arguments: str, url: str, columns: int = 100, rows: int = 30, **variables: str
) -> Iterator[Terminal]:
    """`lawsker-db ARGUMENTS` on a terminal of this size, for the block."""
    exact = environment(folder, url, **{"TERM": "xterm-256color", **variables})
    running = Terminal([str(LAWSKER_DB), *arguments], folder, exact, columns, rows)
    try:
        yield running
    finally:
        running.close()
