"""Could a run begin? Every check of the preflight, by subject; and where there is no connection, why not, and what then."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lawsker_db.errors import LawskerError, Refused, Unreachable
from lawsker_db.evidence import Check, Server, failures
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.arrival import Cause, Way, why_not
from lawsker_db.postgres.session import quoted
from lawsker_db.safety.ended import left_closed
from lawsker_db.safety.leftovers import recovering
from lawsker_db.safety.provisions import tools_found
from lawsker_db.safety.upgrade import UpgradeOptions, look_ahead
from lawsker_db.target import Target


class Subject(StrEnum):
    """What a check is about, in the order in which they are told."""

    PROGRAMS = "programs"
    CONNECTION = "connection"
    SERVER = "server"
    RIGHTS = "rights"
    BACKUP = "backup and proof"
    MIGRATION = "migration"


SUBJECTS = {
    "tool": Subject.PROGRAMS,
    "pg_dump": Subject.PROGRAMS,
    "pg_restore": Subject.PROGRAMS,
    "holes of pg_dump": Subject.PROGRAMS,
    "holes of pg_restore": Subject.PROGRAMS,
    "connection": Subject.CONNECTION,
    "direct address": Subject.CONNECTION,
    "way to the server": Subject.CONNECTION,
    "database": Subject.CONNECTION,
    "server version": Subject.SERVER,
    "primary": Subject.SERVER,
    "encoding": Subject.SERVER,
    "synchronous standby": Subject.SERVER,
    "event triggers": Subject.SERVER,
    "disk for the backup": Subject.BACKUP,
    "disk for the scratch copy": Subject.BACKUP,
    "left-overs of earlier runs": Subject.MIGRATION,
    "statistics": Subject.MIGRATION,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Every check with what it is about, in the order of subjects. `server` None: nobody could ask it."""

    server: Server | None
    checks: tuple[tuple[Subject, Check], ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """Pure. What would stop a run."""
        return failures(tuple(check for _, check in self.checks))

    @property
    def asked(self) -> bool:
        """Pure. Whether the database could be asked."""
        return self.server is not None


def examine(target: Target, runs: Path) -> Readiness:
    """Ask everything that safe-upgrade asks beforehand, and run each client program for its version. Reads only.

    What keeps the questions from being asked is a check that failed: no connection, a pooler, a chain that does not fit.
    """
    try:
        outlook = look_ahead(target, "head", UpgradeOptions(runs=runs), always=True)
    except Unreachable as failed:
        return Readiness(server=None, checks=_sorted((*tools_found(), _unreachable(target, runs, failed), *_unasked())))
    except LawskerError as failed:
        if not isinstance(failed, Refused):
            raise
        refused = Check(
            name=Phrase("database"),
            ok=False,
            expected=Phrase("one that answers every question"),
            found=failed.message,
            detail=failed.hint,
        )
        return Readiness(server=None, checks=_sorted((*tools_found(), refused, *_unasked())))
    return Readiness(server=outlook.server, checks=_sorted((*tools_found(), *outlook.checks)))


def subject_of(check: Check) -> Subject:
    """Pure. What a check is about, by its name: rights and what a dump would miss begin so; the rest is of the plan."""
    if check.name.startswith("right: "):
        return Subject.RIGHTS
    if check.name in SUBJECTS:
        return SUBJECTS[check.name]
    return Subject.BACKUP if check.name.startswith("dump") else Subject.MIGRATION


def _sorted(checks: Iterable[Check]) -> tuple[tuple[Subject, Check], ...]:
    """Pure. By subject, else in the order in which they were asked."""
    order = list(Subject)
    return tuple(sorted(((subject_of(c), c) for c in checks), key=lambda pair: order.index(pair[0])))


def _unasked() -> tuple[Check, ...]:
    """What only the server could have told: not run, which is no warning and no pass."""
    said = Phrase("the database could not be asked")
    return tuple(
        Check(name=name, ok=None, expected=Phrase("asked"), found=said)
        for name in (Phrase("server version"), Phrase("right: to migrate"), Phrase("disk for the scratch copy"))
    )


def _unreachable(target: Target, runs: Path, failed: Unreachable) -> Check:
    """No connection: the cause, by the server's code or by the network, with what was said, and what to type."""
    cause, way = why_not(target)
    closed = cause is Cause.CLOSED and left_closed(runs)
    mend = recovering(runs) if closed else _mend(cause, way)
    return Check(
        name=Phrase("connection"),
        ok=False,
        expected=Phrase("one to {place}", place=target.label),
        found=Phrase("{cause}: {said}", cause=Phrase(cause.value), said=failed.message),
        detail=mend or failed.hint,
    )


def _mend(cause: Cause, way: Way) -> str:
    """Pure. What to type against a cause; empty where nothing can be told."""
    user, base = quoted(way.user), quoted(way.database)
    line = f"{way.host or 'localhost'}:{way.port}:{way.database}:{way.user}:PASSWORD"
    mends = {
        Cause.PASSWORD: Phrase(
            "give the right password: PGPASSWORD, or a line {line} in ~/.pgpass (chmod 600)",
            line=line,
        ),
        Cause.NOT_ADMITTED: Phrase(
            "have pg_hba.conf admit {user} from here and the role exist, then: SELECT pg_reload_conf()", user=user
        ),
        Cause.TLS_REQUIRED: Phrase("add sslmode=require to the URL, or: export PGSSLMODE=require"),
        Cause.NO_TLS: Phrase(
            "on the server: ALTER SYSTEM SET ssl = on (with a certificate), then SELECT pg_reload_conf()"
        ),
        Cause.UNPROVEN: Phrase("name the authority that signed the server's certificate: sslrootcert=FILE in the URL"),
        Cause.NO_DATABASE: Phrase(
            "psql -h {host} -p {port} -U {user} -l lists what there is; then mend the name",
            host=way.host or "/tmp",  # noqa: S108 - libpq's own default
            port=way.port,
            user=way.user,
        ),
        Cause.NO_CONNECT: f"GRANT CONNECT ON DATABASE {base} TO {user}",
        Cause.CLOSED: f"ALTER DATABASE {base} ALLOW_CONNECTIONS true",
        Cause.FULL: Phrase("end sessions that nobody needs, or: ALTER SYSTEM SET max_connections = N, and restart"),
        Cause.STARTING: Phrase("wait until it is up: pg_isready -h {host} -p {port}", host=way.host, port=way.port),
        Cause.UNKNOWN_HOST: Phrase("mend the host name: getent hosts {host} must find it", host=way.host),
        Cause.REFUSED: Phrase(
            "start the server, or mend host and port: pg_isready -h {host} -p {port}", host=way.host, port=way.port
        ),
        Cause.SILENT: Phrase(
            "have the firewall let this machine through to {host} port {port}", host=way.host, port=way.port
        ),
        Cause.NO_SOCKET: Phrase(
            "start the server, or name the folder of its socket or its host: host=… (looked in {folder})",
            folder=way.host,
        ),
    }
    return mends.get(cause, "")
