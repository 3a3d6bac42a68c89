"""A proxy before a PostgreSQL server that reads along, and acts on the COMMIT of a migration: the one after the marker.

It listens on a Unix socket, so that clients speak neither TLS nor GSSAPI to it.
"""

from __future__ import annotations

import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict, make_conninfo

MARKER = b"INSERT INTO lawsker_db.migration_run"
PORT = 5432
CHUNK = 1 << 16
Act = Callable[[], None]


def nothing() -> None:
    """Do nothing."""


class At(Enum):
    """What becomes of the COMMIT."""

    LOST = "closed before it reaches the server"
    ANSWER_LOST = "the server answers, and the connection is closed before the client hears it"
    ANSWERED = "all goes well"
    SWALLOWED = "never passed on, with both ends left open"
    ANSWER_SWALLOWED = "passed on, and the answer is not, with both ends left open"


class Proxy:
    """Forwards until the migration's COMMIT comes; then does what `at` says, and may refuse everyone afterwards."""

    def __init__(
        self, upstream: str, at: At, *, refuse_after: bool, tells_server: bool, on_marker: Act, on_answer: Act
    ) -> None:
        self.committing = threading.Event()
        self._tells_server = tells_server
        self._at, self._refuse_after, self._on_marker, self._on_answer = at, refuse_after, on_marker, on_answer
        given = {name: str(value) for name, value in conninfo_to_dict(upstream).items()}
        self._host, self._port = given["host"], given.get("port", str(PORT))
        self.folder = Path(tempfile.mkdtemp(prefix="lkproxy-", dir="/tmp"))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / f".s.PGSQL.{PORT}"))
        self._listener.listen(20)
        self._open: list[socket.socket] = []
        self.links: list[_Link] = []
        self.conninfo = make_conninfo(**{**given, "host": str(self.folder), "port": str(PORT)})
        user, password = quote(given.get("user", "postgres"), safe=""), quote(given.get("password", ""), safe="")
        login = f"{user}:{password}" if password else user
        self.url = f"postgresql://{login}@/{quote(given['dbname'], safe='')}?host={quote(str(self.folder), safe='')}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Refuse new connections and end the old ones."""
        self.refuse()
        for end in list(self._open):
            _shut(end)
        shutil.rmtree(self.folder, ignore_errors=True)

    def refuse(self) -> None:
        """Refuse new connections from here on."""
        with suppress(OSError):
            (self.folder / f".s.PGSQL.{PORT}").unlink()
        _shut(self._listener)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = self._dial()
            self._open += [client, server]
            link = _Link(self, client, server)
            self.links.append(link)
            for work in (link.frontend, link.backend):
                threading.Thread(target=work, daemon=True).start()

    def _dial(self) -> socket.socket:
        if self._host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{self._host}/.s.PGSQL.{self._port}")
            return server
        return socket.create_connection((self._host, int(self._port)))


class _Link:
    """One client's connection."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._marked = False
        self._answering = False
        self.swallows = False  # nothing is passed on any more, either way

    def frontend(self) -> None:
        """Client to server, message by message."""
        buffer = b""
        started = False
        while chunk := _receive(self._client):
            buffer += chunk
            while True:
                head = 4 if not started else 5
                if len(buffer) < head:
                    break
                length = struct.unpack("!I", buffer[head - 4 : head])[0] + head - 4
                if len(buffer) < length:
                    break
                message, buffer = buffer[:length], buffer[length:]
                started = True
                if not self._pass_on(message):
                    return
        if self._proxy._tells_server:
            _shut(self._server)

    def _pass_on(self, message: bytes) -> bool:
        if not self._marked and MARKER in message:
            self._marked = True
            self._proxy._on_marker()
        if self.swallows:
            return True
        if self._marked and message[:1] == b"Q" and message[5:] == b"COMMIT\0":
            self._proxy.committing.set()
            if self._proxy._refuse_after:
                self._proxy.refuse()
            if self._proxy._at is At.LOST:
                _shut(self._server)
                _shut(self._client)
                return False
            if self._proxy._at is At.SWALLOWED:
                self.swallows = True
                return True
            self._answering = True
        with suppress(OSError):
            self._server.sendall(message)
        return True

    def backend(self) -> None:
        """Server to client."""
        while chunk := _receive(self._server):
            if self._answering:
                self._answering = False
                self._proxy._on_answer()
                if self._proxy._at is At.ANSWER_LOST:
                    _shut(self._client)
                    _shut(self._server)
                    return
                self.swallows = self._proxy._at is At.ANSWER_SWALLOWED
            if self.swallows:
                continue
            with suppress(OSError):
                self._client.sendall(chunk)
        if not self.swallows:
            _shut(self._client)


def _receive(end: socket.socket) -> bytes:
    try:
        return end.recv(CHUNK)
    except OSError:
        return b""


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        end.close()


@contextmanager
def proxy(
    upstream: str,
    at: At,
    *,
    refuse_after: bool = False,
    tells_server: bool = True,
    on_marker: Act = nothing,
    on_answer: Act = nothing,
) -> Iterator[Proxy]:
    """A proxy before the server of `upstream` (a URL) for the block.

    `on_marker` runs before the marker row is passed on, `on_answer` when COMMIT's answer has come. Without `tells_server`
    the server does not hear that a client has gone, as when its machine vanishes.
    """
    standing = Proxy(
        upstream, at, refuse_after=refuse_after, tells_server=tells_server, on_marker=on_marker, on_answer=on_answer
    )
    try:
        yield standing
    finally:
        standing.close()
