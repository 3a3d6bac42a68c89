"""A small pooler before a PostgreSQL server, which lends server processes as the well-known ones do.

For machines without one; the long suite compares it with a real PgBouncer. On a Unix socket, for roles that need no
password.
"""

from __future__ import annotations

import secrets
import select
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

PORT = 5432
REFUSED = b"SFATAL\0C08P01\0Mtransaction blocks not allowed here\0\0"


class SmallPooler:
    """Lends a server process for a session, a transaction or a statement: that of the last user, or by turns."""

    def __init__(self, upstream: str, mode: str, *, round_robin: bool) -> None:
        given = {name: str(value) for name, value in conninfo_to_dict(upstream).items()}
        self._server = f"{given['host']}/.s.PGSQL.{given.get('port', PORT)}"
        self.mode, self._round_robin = mode, round_robin
        self._idle: dict[bytes, list[socket.socket]] = {}
        self._greetings: dict[bytes, bytes] = {}
        self._lock = threading.Lock()
        self.folder = Path(tempfile.mkdtemp(prefix="lkpool-", dir="/tmp"))
        self.conninfo = make_conninfo(**{**given, "host": str(self.folder), "port": str(PORT)})
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / f".s.PGSQL.{PORT}"))
        self._listener.listen(50)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Refuse new clients, and end the server processes that nobody uses."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for server in [server for idle in self._idle.values() for server in idle]:
            server.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def borrow(self, startup: bytes) -> socket.socket:
        """A server process for clients that began alike: an idle one, else a new one."""
        with self._lock:
            idle = self._idle.setdefault(startup, [])
            if idle:
                return idle.pop(0 if self._round_robin else -1)
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._server)
        server.sendall(startup)
        greeting = b""
        while (message := read_message(server))[:1] not in (b"Z", b""):
            greeting += b"" if message[:1] == b"K" else message
        self._greetings[startup] = greeting
        return server

    def give_back(self, startup: bytes, server: socket.socket) -> None:
        """Keep it for the next one."""
        with self._lock:
            self._idle[startup].append(server)

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            length = receive(client, 4)
            startup = length + receive(client, struct.unpack("!I", length)[0] - 4)
            self.give_back(startup, self.borrow(startup))
            key = b"K" + struct.pack("!I", 12) + secrets.token_bytes(8)  # of our own, as poolers have
            client.sendall(self._greetings[startup] + key + b"Z\0\0\0\5I")
            self._relay(client, startup)

    def _relay(self, client: socket.socket, startup: bytes) -> None:
        """Between client and server, message by message; the server process is given back when the mode says so."""
        server: socket.socket | None = None
        unanswered = 0
        while True:
            ready, _, _ = select.select([end for end in (client, server) if end is not None], [], [])
            if client in ready:
                message = read_message(client)
                if message[:1] in (b"X", b""):
                    break
                server = server or self.borrow(startup)
                server.sendall(message)
                unanswered += message[:1] in (b"Q", b"S")
                continue
            assert server is not None
            answer = read_message(server)
            unanswered -= answer[:1] == b"Z"
            if self.mode == "statement" and answer[:1] == b"Z" and answer[-1:] != b"I":
                client.sendall(b"E" + struct.pack("!I", len(REFUSED) + 4) + REFUSED)
                break
            if self.mode != "session" and answer[:1] == b"Z" and answer[-1:] == b"I" and not unanswered:
                self.give_back(startup, server)  # before the client hears it, and another one asks
                server = None
            client.sendall(answer)
        if server is not None:
            server.close()


def receive(end: socket.socket, size: int) -> bytes:
    """So many bytes, fewer only at the end of the connection."""
    found = b""
    while len(found) < size and (chunk := end.recv(size - len(found))):
        found += chunk
    return found


def read_message(end: socket.socket) -> bytes:
    """One message with its head, empty at the end of the connection."""
    head = receive(end, 5)
    return head + receive(end, struct.unpack("!I", head[1:])[0] - 4) if len(head) == 5 else b""


@contextmanager
def small_pooler(upstream: str, mode: str, *, round_robin: bool = False) -> Iterator[str]:
    """A pooler before the server of `upstream` (a conninfo string or URL) for the block; gives the way through it."""
    standing = SmallPooler(upstream, mode, round_robin=round_robin)
    try:
        yield standing.conninfo
    finally:
        standing.close()
