"""A proxy before a PostgreSQL server that numbers what its clients send, and strikes at one message of one connection.

A connection is called by who opened it (the tool, its readers, pg_dump, pg_restore), with `/copy` for a scratch
database, and a number: `tool#5` is the fifth that the tool itself opened. Its messages are numbered from 1, the start-up
packet. Numbers within a connection stay what they are from run to run where the order between connections does not.
The migration's connection is `migration#1` from its first statement on, and `commit#1` from its marker row on; what the tool
opens after that is `after#1` and so on.

One thread does all the work, so that a strike finds every connection standing still.
"""

from __future__ import annotations

import selectors
import shutil
import signal
import socket
import struct
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import peers
from psycopg.conninfo import conninfo_to_dict
from strikes import Fault, Moment, Seen, Strike

PORT = 5432
CHUNK = 1 << 16
HELD_S = 0.05  # what a signal strikes at waits so long: by then the tool has begun to act on it
WAKE_S = 0.05
DIES_S = 20.0
SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
ANSWERED_BY_READY = b"QSF"
COPY_IN, READY = b"G", b"Z"
SCRATCH, READER = "lawsker_scratch_", "lawsker-db reader"
SHOWN = 70
# How many connections the tool opens before the migration hangs on the time that things take. So the migration's has a name
# of its own, another one from its marker row on, and so have those that are opened later.
MIGRATING, COMMITTING, AFTERWARDS = "migration", "commit", "after"
MARKER = "INSERT INTO lawsker_db.migration_run"
PARTS = {"CREATE TEMPORARY TABLE lawsker_seal": MIGRATING, MARKER: COMMITTING}
SIGNALS = {Fault.TERM: signal.SIGTERM, Fault.INT: signal.SIGINT, Fault.GROUP: signal.SIGINT}


@dataclass(slots=True, eq=False)
class Link:
    """One client's connection and the one to the server that goes with it."""

    client: socket.socket
    server: socket.socket
    label: str = ""
    count: int = 0
    inbox: bytearray = field(default_factory=bytearray)
    answers: bytearray = field(default_factory=bytearray)
    held: bytearray = field(default_factory=bytearray)
    to_client: bytearray = field(default_factory=bytearray)
    to_server: bytearray = field(default_factory=bytearray)
    waiting: deque[int] = field(default_factory=deque)  # numbers of messages that a ReadyForQuery will answer
    one_byte: bool = False  # the answer to an SSLRequest has no frame
    dead: bool = False
    mute: bool = False


class Wire:
    """The proxy. `tool` is the process id that signals go to; it must be set before the strike can be."""

    def __init__(self, upstream: str, *, tcp: bool = False, strike: Strike | None = None) -> None:
        given = {name: str(value) for name, value in conninfo_to_dict(upstream).items()}
        self._upstream = f"{given['host']}/.s.PGSQL.{given.get('port', PORT)}"
        self._folder = Path(tempfile.mkdtemp(prefix="lkwire-", dir="/tmp"))
        self._strike = strike
        self._links: list[Link] = []
        self._counts: Counter[str] = Counter()
        self._silent = False
        self._closing = False
        self._choose = selectors.DefaultSelector()
        self._named = threading.Event()
        self._tool = 0
        self.seen: list[Seen] = []
        self.struck = threading.Event()
        self.struck_at: Seen | None = None
        self.failure: BaseException | None = None
        self._listener = self._listen(tcp=tcp)
        self.url = self._address(given, tcp=tcp)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    @property
    def tool(self) -> int:
        """The process that the strike's signal goes to."""
        return self._tool

    @tool.setter
    def tool(self, pid: int) -> None:
        self._tool = pid
        self._named.set()

    def close(self) -> None:
        """End every connection, then the thread."""
        self._closing = True
        self._thread.join()
        for link in self._links:
            self._end(link)
        self._refuse()
        self._choose.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        if self.failure is not None:
            raise self.failure

    def _listen(self, *, tcp: bool) -> socket.socket:
        listener = socket.socket(socket.AF_INET if tcp else socket.AF_UNIX)
        listener.bind(("127.0.0.1", 0) if tcp else str(self._folder / f".s.PGSQL.{PORT}"))
        listener.listen(64)
        listener.setblocking(False)
        self._choose.register(listener, selectors.EVENT_READ)
        return listener

    def _address(self, given: dict[str, str], *, tcp: bool) -> str:
        user = quote(given.get("user", "postgres"), safe="")
        secret = f":{quote(given['password'], safe='')}" if "password" in given else ""
        place = f"127.0.0.1:{self._listener.getsockname()[1]}" if tcp else ""
        where = "" if tcp else f"?host={quote(str(self._folder), safe='')}&port={PORT}"
        return f"postgresql://{user}{secret}@{place}/{quote(given['dbname'], safe='')}{where}"

    # ---- the thread ----

    def _work(self) -> None:
        try:
            while not self._closing:
                for key, mask in self._choose.select(WAKE_S):
                    if key.data is None:
                        self._accept()
                    elif not (key.data.dead or key.data.mute):
                        self._serve(key.data, key.fileobj, mask)
        except BaseException as failed:  # noqa: BLE001 - told by close(), in the thread that tests look at
            self.failure = failed

    def _accept(self) -> None:
        with suppress(OSError):
            client, _ = self._listener.accept()
            server = socket.socket(socket.AF_UNIX)
            link = Link(client=client, server=server)
            self._links.append(link)
            if self._silent:
                link.mute = True
                return
            server.connect(self._upstream)
            for end in (client, server):
                end.setblocking(False)
                self._choose.register(end, selectors.EVENT_READ, link)

    def _serve(self, link: Link, end: object, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._flush(link)
        if mask & selectors.EVENT_READ and not link.dead:
            mine, theirs = (link.client, link.server) if end is link.client else (link.server, link.client)
            chunk = _receive(mine)
            if chunk is None:
                return
            if not chunk:
                self._flush(link)  # the last words of a server that ends a session
                self._end(link)
                return
            if theirs is link.server:
                link.inbox += chunk
                self._frontend(link)
            else:
                link.answers += chunk
                self._backend(link)
            self._flush(link)

    # ---- client to server ----

    def _frontend(self, link: Link) -> None:
        while not (link.dead or link.mute):
            head = 5 if link.label else 4
            if len(link.inbox) < head:
                return
            length = struct.unpack_from("!I", link.inbox, head - 4)[0] + head - 4
            if len(link.inbox) < length:
                return
            message = bytes(link.inbox[:length])
            del link.inbox[:length]
            self._message(link, message)

    def _message(self, link: Link, message: bytes) -> None:
        kind = message[:1].decode("latin-1") if link.label else self._greet(link, message)
        if kind in ("ssl", "gss"):  # before the start-up, and not counted: TCP and Unix sockets count alike
            link.one_byte = True
            link.to_server += message
            return
        text = _words(kind, message)
        self._rename(link, text)
        link.count += 1
        seen = Seen(label=link.label, ordinal=link.count, kind=kind, text=text)
        self.seen.append(seen)
        due = self._due(link, link.count)
        if due == Moment.BEFORE and self._hit(link, seen):
            return
        if link.dead or link.mute:
            return
        link.to_server += message
        if kind == "startup" or message[:1] in ANSWERED_BY_READY:
            link.waiting.append(link.count)
        if due == Moment.SENT:
            self._flush(link)
            self._hit(link, seen)

    def _rename(self, link: Link, text: str) -> None:
        """A message with which a part of the migration begins gives its connection another name and a count from one."""
        part = next((name for begins, name in PARTS.items() if text.startswith(begins)), "")
        if (part and link.label.startswith("tool#")) or (part == COMMITTING and link.label.startswith(MIGRATING)):
            self._counts[part] += 1
            link.label, link.count = f"{part}#{self._counts[part]}", 0

    def _greet(self, link: Link, message: bytes) -> str:
        """What the first packet is; with the start-up, who it is that has come."""
        code = struct.unpack_from("!I", message, 4)[0]
        if code in (SSL_REQUEST, GSS_REQUEST):
            return "ssl" if code == SSL_REQUEST else "gss"
        if code == CANCEL_REQUEST:
            who, kind = "cancel", "cancel"
        else:
            words = message[8:].split(b"\0")
            given = dict(zip(words[::2], words[1::2], strict=False))
            who, kind = self._who(link, given), "startup"
        self._counts[who] += 1
        link.label = f"{who}#{self._counts[who]}"
        return kind

    def _who(self, link: Link, given: dict[bytes, bytes]) -> str:
        self._named.wait(DIES_S)
        pid = peers.peer(link.client, self._tool)
        program = "tool" if pid == self._tool else peers.program(pid)
        if program == "tool" and given.get(b"application_name", b"").startswith(READER.encode()):
            program = "reader"
        if program == "tool" and self._counts[COMMITTING]:
            program = AFTERWARDS
        return f"{program}/copy" if given.get(b"database", b"").startswith(SCRATCH.encode()) else program

    # ---- server to client ----

    def _backend(self, link: Link) -> None:
        if link.one_byte and link.answers:
            if link.answers[:1] == b"S":
                raise AssertionError("this proxy cannot read TLS")
            link.one_byte = False
            link.to_client += link.answers[:1]
            del link.answers[:1]
        while not (link.dead or link.mute) and len(link.answers) >= 5:
            length = struct.unpack_from("!I", link.answers, 1)[0] + 1
            if len(link.answers) < length:
                return
            frame = bytes(link.answers[:length])
            del link.answers[:length]
            self._answer(link, frame)

    def _answer(self, link: Link, frame: bytes) -> None:
        """Pass on one message of the server, but hold back what answers the message that is struck once it is answered."""
        complete = frame[:1] in (READY, COPY_IN) and bool(link.waiting)
        ordinal = link.waiting[0] if link.waiting else 0
        due = self._due(link, ordinal)
        if complete and frame[:1] == READY:
            link.waiting.popleft()
        if due != Moment.ANSWERED:
            link.to_client += frame
            if complete and due == Moment.PASSED:
                self._flush(link)
                self._hit(link, self._find(link, ordinal))
            return
        link.held += frame
        if complete and not self._hit(link, self._find(link, ordinal)) and not link.dead:
            link.to_client += link.held
            link.held.clear()

    def _find(self, link: Link, ordinal: int) -> Seen:
        return next(seen for seen in self.seen if (seen.label, seen.ordinal) == (link.label, ordinal))

    # ---- the strike ----

    def _due(self, link: Link, ordinal: int) -> Moment | None:
        """The moment at which this message is to be struck, None for all others and when it is done."""
        strike = self._strike
        if strike is None or self.struck.is_set() or (strike.label, strike.ordinal) != (link.label, ordinal):
            return None
        return strike.moment

    def _hit(self, link: Link, seen: Seen) -> bool:
        """Strike; whether what was struck goes no further."""
        assert self._strike is not None
        self.struck_at = seen
        self.struck.set()
        fault = self._strike.fault
        if fault is Fault.KILL:
            peers.kill(self._tool, DIES_S)
            self._end(link)
        elif fault in SIGNALS:
            peers.send(self._tool, SIGNALS[fault], group=fault is Fault.GROUP)
            time.sleep(HELD_S)
            return False
        elif fault is Fault.RESET:
            self._end(link, reset=True)
        elif fault is Fault.DROP:
            self._mute(link)
        else:
            self._strike_all(fault)
        return True

    def _strike_all(self, fault: Fault) -> None:
        self._silent = fault is Fault.SILENCE
        if fault is Fault.DOWN:
            self._refuse()
        for link in self._links:
            if self._silent:
                self._mute(link)
            else:
                self._end(link, reset=True)

    # ---- sockets ----

    def _refuse(self) -> None:
        """Let nobody in any more."""
        with suppress(KeyError, ValueError):
            self._choose.unregister(self._listener)
        with suppress(OSError):
            (self._folder / f".s.PGSQL.{PORT}").unlink()
        self._listener.close()

    def _mute(self, link: Link) -> None:
        link.mute = True
        for end in (link.client, link.server):
            with suppress(KeyError, ValueError):
                self._choose.unregister(end)

    def _end(self, link: Link, *, reset: bool = False) -> None:
        """Close both ends: by FIN, or by RST where the socket knows that."""
        link.dead = True
        for end in (link.client, link.server):
            with suppress(KeyError, ValueError):
                self._choose.unregister(end)
            if reset and end.family == socket.AF_INET:
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()

    def _flush(self, link: Link) -> None:
        """Write what can be written now; the rest when the other side has read."""
        for end, pending in ((link.client, link.to_client), (link.server, link.to_server)):
            if link.dead or link.mute:
                return
            while pending:
                try:
                    del pending[: end.send(pending)]
                except BlockingIOError:
                    break
                except OSError:  # it has gone; what is still to be read from it says so
                    pending.clear()
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if pending else 0)
            self._choose.modify(end, wanted, link)


def _receive(end: socket.socket) -> bytes | None:
    """What has come, None for nothing yet, empty at the end."""
    try:
        return end.recv(CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _words(kind: str, message: bytes) -> str:
    """How a statement begins; nothing for what carries data."""
    if kind not in "QPBCDE":
        return ""
    text = message[5:].replace(b"\0", b" ").decode(errors="replace") if kind in "QP" else ""
    return " ".join(text.split())[:SHOWN]


@contextmanager
def wire(upstream: str, *, tcp: bool = False, strike: Strike | None = None) -> Iterator[Wire]:
    """A proxy before the server of `upstream`, a URL that leads to a Unix socket, for the block."""
    standing = Wire(upstream, tcp=tcp, strike=strike)
    try:
        yield standing
    finally:
        standing.close()
