"""Why does no connection come about? By the server's SQLSTATE, which libpq keeps to itself, and by what the network says.

libpq gives a failed start-up as text alone, in the language of the server. Its own trace of the protocol has the code.
"""

from __future__ import annotations

import os
import re
import select
import socket
import time
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum

from psycopg import conninfo, pq

from lawsker_db.target import CONNECT_TIMEOUT_S, Target

# libpq's trace of one ErrorResponse: severity, the same untranslated (not from every pooler), code.
REFUSAL = re.compile(rb'ErrorResponse\t S "[^"]*"(?: V "[^"]*")? C "([0-9A-Z]{5})"')
SSL_REQUEST = bytes((0, 0, 0, 8, 4, 210, 22, 47))  # protocol, "SSLRequest": the server answers S or N
PROBE_S = 5.0
TRACE_BYTES = 64 << 10
DEMANDING = ("require", "verify-ca", "verify-full")  # sslmodes that take no connection without TLS


class Cause(StrEnum):
    """Why no connection came about."""

    PASSWORD = "wrong password"  # noqa: S105 - words
    NOT_ADMITTED = "not admitted"
    TLS_REQUIRED = "the server wants TLS"
    NO_TLS = "the server has no TLS"
    UNPROVEN = "certificate not accepted"
    NO_DATABASE = "no such database"
    NO_CONNECT = "no right to connect"
    CLOSED = "database lets nobody in"
    FULL = "too many connections"
    STARTING = "server is starting or stopping"
    UNKNOWN_HOST = "unknown host"
    REFUSED = "nobody listens there"
    SILENT = "no answer"
    NO_SOCKET = "no socket there"
    OTHER = "another reason"


NO_RULE = "28000"  # invalid_authorization_specification: no entry of pg_hba.conf fits
BY_STATE = {
    "28P01": Cause.PASSWORD,
    NO_RULE: Cause.NOT_ADMITTED,
    "3D000": Cause.NO_DATABASE,
    "42501": Cause.NO_CONNECT,
    "55000": Cause.CLOSED,
    "53300": Cause.FULL,
    "57P01": Cause.STARTING,
    "57P02": Cause.STARTING,
    "57P03": Cause.STARTING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Where a connection is to lead, as libpq resolves it from URL, environment and service file. A host that begins with /
    is the folder of a socket."""

    host: str
    port: str
    user: str
    database: str
    sslmode: str

    @property
    def is_socket(self) -> bool:
        """Pure. Whether it is no network way."""
        return self.host.startswith(("/", "@")) or not self.host


def why_not(target: Target) -> tuple[Cause, Way]:
    """Try once more to connect, and say why it does not come about, and where it was to lead. Changes nothing; sends no
    password but to the server.

    `OTHER` where nobody can tell, also where it comes about after all.
    """
    state, way = _refusal(target)
    return _cause(state, way), way


def _cause(state: str, way: Way) -> Cause:
    """By the server's code where there is one, else by the network. Asks both."""
    if state:
        return Cause.TLS_REQUIRED if state == NO_RULE and _lacks_tls(way) else BY_STATE.get(state, Cause.OTHER)
    if way.is_socket:
        return Cause.OTHER if os.path.exists(f"{way.host}/.s.PGSQL.{way.port}") else Cause.NO_SOCKET  # noqa: PTH110
    return _by_network(way)


def _lacks_tls(way: Way) -> bool:
    """Whether it was tried without TLS where the server has it: a rule for TLS alone (hostssl) would not fit."""
    if way.is_socket or way.sslmode not in ("disable", "allow"):
        return False
    try:
        return _offers_tls(way)
    except OSError:
        return False


def _conninfo(target: Target) -> bytes:
    return conninfo.make_conninfo(**{"connect_timeout": str(CONNECT_TIMEOUT_S), **target.parameters}).encode()


def _way(attempt: pq.abc.PGconn) -> Way:
    given = {option.keyword.decode(): option.val.decode() for option in attempt.info if option.val is not None}
    user = given.get("user", "")
    return Way(
        host=(given.get("host") or given.get("hostaddr", "")).partition(",")[0],
        port=given.get("port", "").partition(",")[0] or "5432",
        user=user,
        database=given.get("dbname") or user,
        sslmode=given.get("sslmode", "prefer"),
    )


def _refusal(target: Target) -> tuple[str, Way]:
    """The SQLSTATE with which the server refuses, empty when it does not, and the way that was tried."""
    attempt = pq.PGconn.connect_start(_conninfo(target))
    try:
        way = _way(attempt)
        if not hasattr(os, "memfd_create"):
            return "", way
        with os.fdopen(
            os.memfd_create("lawsker-db"), "w+b", buffering=0
        ) as trace:  # in memory only: it holds what is sent
            _carried_on(attempt, trace.fileno())
            trace.seek(0)
            states = [state.decode() for state in REFUSAL.findall(trace.read(TRACE_BYTES))]
        return _telling(states), way
    finally:
        attempt.finish()


def _telling(states: list[str]) -> str:
    """Pure. Of the codes of several tries the one that tells why.

    With sslmode=prefer libpq tries again without TLS, which no rule may fit: the first try has the cause then.
    """
    last = states[-1] if states else ""
    return next((state for state in states if state != NO_RULE), last)


def _carried_on(attempt: pq.abc.PGconn, trace: int) -> None:
    """Carry a connection on until it stands or has failed, with what goes over it traced."""
    if attempt.status == pq.ConnStatus.BAD:
        return
    attempt.trace(trace)
    deadline, polling = time.monotonic() + CONNECT_TIMEOUT_S, pq.PollingStatus
    while time.monotonic() < deadline:
        wants = attempt.connect_poll()
        if wants in (polling.OK, polling.FAILED):
            break
        sockets = [attempt.socket]
        reading, writing = (sockets, []) if wants == polling.READING else ([], sockets)
        select.select(reading, writing, [], max(0.0, deadline - time.monotonic()))
    attempt.untrace()


def _by_network(way: Way) -> Cause:
    """What the network says of a server that has not answered libpq."""
    try:
        socket.getaddrinfo(way.host, way.port)
    except OSError:
        return Cause.UNKNOWN_HOST
    try:
        offers = _offers_tls(way)
    except ConnectionRefusedError:
        return Cause.REFUSED
    except OSError:
        return Cause.SILENT
    if way.sslmode in DEMANDING:
        return Cause.UNPROVEN if offers else Cause.NO_TLS
    return Cause.OTHER


def _offers_tls(way: Way) -> bool:
    """Whether the server there speaks TLS. Asks it. Raises `OSError` where nobody answers."""
    with closing(socket.create_connection((way.host, int(way.port)), timeout=PROBE_S)) as probe:
        probe.sendall(SSL_REQUEST)
        return probe.recv(1) == b"S"
