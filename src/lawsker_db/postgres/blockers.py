"""Who stands in the way: sessions and prepared transactions that hold what we want, what they are, and ending them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.phrases import Phrase, joined
from lawsker_db.target import APPLICATION

CLIENT = "client backend"
PREPARED = "prepared transaction"
AUTOVACUUM = "autovacuum worker"
WRAPAROUND = Phrase("autovacuum to prevent wraparound")
WALSENDER = Phrase("a walsender (a copy for a subscriber or a standby)")
THIS_HOST = Phrase("this host")
NOT_SHOWN = Phrase("state not shown to this role")
STATES = {  # pg_stat_activity.state, and what this role is not shown of it
    "active": Phrase("active"),
    "idle": Phrase("idle"),
    "idle in transaction": Phrase("idle in transaction"),
    "idle in transaction (aborted)": Phrase("idle in a failed transaction"),
    "fastpath function call": Phrase("in a function call"),
    "disabled": Phrase("not tracked"),
    "not shown": Phrase("not shown"),
}
WORDS = STATES | {str(word): word for word in (WRAPAROUND, WALSENDER, THIS_HOST, NOT_SHOWN)}  # which the server gives
WAITING = ", waiting for "
IDLE = ("idle in transaction", "idle in transaction (aborted)")
# Who copies the database by these names, and would have to begin anew: ours are backups and verifications.
DUMPS = ("pg_dump", "pg_dumpall", "pg_basebackup", APPLICATION)

# As the server numbers them, and what conflicts with what (manual, "Table-Level Locks", table 13.2).
MODES = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
CONFLICTS = {
    "ACCESS SHARE": MODES[7:],
    "ROW SHARE": MODES[6:],
    "ROW EXCLUSIVE": MODES[4:],
    "SHARE UPDATE EXCLUSIVE": MODES[3:],
    "SHARE": (*MODES[2:4], *MODES[5:]),
    "SHARE ROW EXCLUSIVE": MODES[2:],
    "EXCLUSIVE": MODES[1:],
    "ACCESS EXCLUSIVE": MODES,
}

# Query text may hold personal data, so it never leaves the server: only what kind of work it is. `what` of a session
# of another role is unknown to a role without pg_read_all_stats, and so are its times.
WHAT = f"""
    CASE WHEN a.query LIKE 'autovacuum: % (to prevent wraparound)' THEN '{WRAPAROUND}'
        WHEN a.backend_type = 'autovacuum worker' THEN 'autovacuum'
        WHEN a.backend_type = 'walsender' THEN '{WALSENDER}'
        WHEN i.command LIKE '%CONCURRENTLY' THEN i.command
        WHEN v.pid IS NOT NULL THEN 'VACUUM'
        WHEN a.query ILIKE 'COPY %TO STDOUT%' AND a.state = 'active' THEN 'COPY TO STDOUT'
        ELSE '' END"""
AT_WORK = """pg_stat_activity a LEFT JOIN pg_stat_progress_create_index i ON i.pid = a.pid
    LEFT JOIN pg_stat_progress_vacuum v ON v.pid = a.pid"""
_SESSIONS = f"""
    SELECT a.pid, coalesce(a.usename, '?') AS user, coalesce(a.application_name, '') AS application,
        coalesce(host(a.client_addr), a.client_hostname, '{THIS_HOST}') AS address,
        coalesce(a.state, a.backend_type, '{NOT_SHOWN}') AS state,
        coalesce(a.xact_start, a.state_change, a.backend_start) AS since, a.query_start, a.backend_start AS connected,
        extract(epoch FROM clock_timestamp() - a.xact_start)::bigint AS age_s,
        CASE WHEN a.wait_event_type <> 'Client' THEN '{WAITING}' || a.wait_event ELSE '' END AS doing,
        coalesce(a.backend_type, '{CLIENT}') AS kind, {WHAT} AS what, a.xact_start IS NULL AS resting
    FROM {AT_WORK}"""

# LOCK TABLE takes children and partitions too. The same table has the same OID in a database made from the same
# template, so the database is part of the question. Fast-path locks are rows of pg_locks like any other.
_WANTED = """
    WITH RECURSIVE named AS (
        SELECT to_regclass(t)::oid AS oid, string_to_array(c, ',') AS conflicts
        FROM unnest(CAST(:tables AS text[]), CAST(:conflicts AS text[])) AS w(t, c)
    ), wanted AS (
        SELECT * FROM named UNION SELECT h.inhrelid, w.conflicts FROM wanted w JOIN pg_inherits h ON h.inhparent = w.oid
    ), conflicting AS (
        SELECT l.pid, l.virtualtransaction, l.granted, l.mode, l.relation FROM pg_locks l
        JOIN wanted w ON w.oid = l.relation AND l.mode = ANY (w.conflicts)
        WHERE l.locktype = 'relation' AND l.pid IS DISTINCT FROM pg_backend_pid()
            AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
    )"""
_HOLDS = """
    coalesce((SELECT string_agg(DISTINCT c.mode || ' on ' || c.relation::regclass::text, ', ')
        FROM conflicting c WHERE c.granted AND {whose}), '') AS holds"""
_IN_THE_WAY = f"""{_WANTED}
    SELECT s.*, {_HOLDS.format(whose="c.pid = s.pid")} FROM ({_SESSIONS}) s
    WHERE s.pid IN (SELECT pid FROM conflicting) AND s.kind <> 'parallel worker' ORDER BY s.since, s.pid"""
# A prepared transaction has no process: its locks are known by the transaction id that the same owner has locked.
_PREPARED = f"""{_WANTED}
    SELECT p.gid, p.owner AS user, p.prepared AS since,
        extract(epoch FROM clock_timestamp() - p.prepared)::bigint AS age_s,
        {_HOLDS.format(whose="c.virtualtransaction = x.virtualtransaction")}
    FROM pg_prepared_xacts p JOIN pg_locks x ON x.locktype = 'transactionid' AND x.pid IS NULL AND x.granted
        AND x.transactionid = p.transaction
    WHERE p.database = current_database()
        AND x.virtualtransaction IN (SELECT virtualtransaction FROM conflicting WHERE pid IS NULL) ORDER BY p.prepared"""
# The server's own rule for pg_cancel_backend and pg_terminate_backend, asked first: an error would end our transaction.
_MAY_END = """
    SELECT CASE WHEN me.rolsuper THEN true WHEN r.rolsuper THEN false
        ELSE pg_has_role(r.oid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE') END
    FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid, pg_roles me
    WHERE me.rolname = current_user AND a.pid = :pid AND a.backend_start = :connected"""


Named = tuple[int | str, datetime | None]


class OnBlocker(StrEnum):
    """What a run does about sessions that stand in its way."""

    WAIT = "wait"
    ABORT = "abort"
    CANCEL = "cancel"
    TERMINATE = "terminate"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockerPolicy:
    """What the operator said about blockers. `even_dumps`: cancel or terminate dumps and backups too."""

    on_blocker: OnBlocker = OnBlocker.WAIT
    even_dumps: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """A session, or a prepared transaction (`pid` None, `gid` its name), that holds what we want or stands before us.

    `since` is the start of its transaction, `connected` that of its session; None is what the server hides from this role.
    `holds` names the locks in our way, empty for one that waits for such a lock itself.
    """

    pid: int | None
    user: str
    application: str = ""
    address: str = ""
    state: str = ""
    since: datetime | None
    age_s: int | None = None
    query_start: datetime | None = None
    connected: datetime | None = None
    doing: str = ""
    kind: str = CLIENT
    what: str = ""
    resting: bool = False
    gid: str = ""
    holds: str = ""

    @property
    def label(self) -> str:
        """Pure. One line for people. `doing` is a wait and `what` a kind of work, never query text: that may hold
        personal data."""
        locks = f" ({self.holds})" if self.holds else ""
        if self.kind == PREPARED:
            return Phrase(
                "prepared transaction '{gid}', owner {user}, prepared {since}{locks}",
                gid=self.gid,
                user=self.user,
                since=self._since(),
                locks=locks,
            )
        if self.kind != CLIENT:
            return Phrase(
                "pid {pid}, {what}, since {since}{doing}{locks}",
                pid=str(self.pid),
                what=worded(self.what or self.kind),
                since=self._since(),
                doing=self._waiting(),
                locks=locks,
            )
        return Phrase(
            "pid {pid}, user {user}, {application}, from {address}, {times}{doing}{work}{locks}",
            pid=str(self.pid),
            user=self.user,
            application=self.application or Phrase("no application name"),
            address=worded(self.address),
            times=self._times(),
            doing=self._waiting(),
            work=Phrase(", {what}", what=worded(self.what)) if self.what else "",
            locks=locks,
        )

    @property
    def brief(self) -> Phrase:
        """Pure. Who it is and what it is at, for a sentence that has more to say; `label` has the rest."""
        if self.kind == PREPARED:
            return Phrase("prepared transaction '{gid}'", gid=self.gid)
        if self.kind != CLIENT:
            return Phrase("pid {pid}, {what}", pid=str(self.pid), what=worded(self.what or self.kind))
        who, what = self.application or self.user, worded(self.what or self.state)
        return Phrase("pid {pid} ({who}), {what}", pid=str(self.pid), who=who, what=what)

    @property
    def named(self) -> Named:
        """Pure. This transaction of this session, to be known again."""
        return (self.pid or self.gid, self.since)

    @property
    def is_dump(self) -> bool:
        """Pure. Whether it copies the database out, by its name or by its work."""
        return self.application.partition(" ")[0] in DUMPS or self.what == "COPY TO STDOUT"

    @property
    def is_concurrent(self) -> bool:
        """Pure. Whether it builds an index with CONCURRENTLY, which holds its lock to the end and ends last of all."""
        return self.what.endswith("CONCURRENTLY")

    def began_before(self, moment: datetime) -> bool:
        """Pure. Whether its transaction was open at that moment already; where the server hides it, so it may have been."""
        return self.since is None or self.since <= moment

    def _times(self) -> str:
        state = worded(self.state)
        if self.resting:
            return Phrase("{state}, connected since {moment}", state=state, moment=shown(self.connected))
        if self.query_start and self.state == "active":
            asked = shown(self.query_start)
            return Phrase(
                "{state}, transaction since {since}, query since {asked}", state=state, since=self._since(), asked=asked
            )
        return Phrase("{state}, transaction since {since}", state=state, since=self._since())

    def _since(self) -> str:
        moment = shown(self.since)
        return moment if self.age_s is None else Phrase("{moment} ({age_s} s)", moment=moment, age_s=self.age_s)

    def _waiting(self) -> str:
        return Phrase(", waiting for {event}", event=self.doing.removeprefix(WAITING)) if self.doing else ""


def worded(said: str) -> str:
    """Pure. A text of the server's answer, as a phrase where there are words for it."""
    return WORDS.get(said, said)


def shown(moment: datetime | None) -> str:
    """Pure. A time in UTC, or that this role may not know it."""
    return (
        Phrase("a time not shown to this role") if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    )


def named(sessions: tuple[Blocker, ...]) -> str:
    """Pure. Who stands in the way, in one sentence."""
    return joined((session.label for session in sessions), "; ") or Phrase("sessions that come and go")


def find_sessions(conn: Connection, condition: str, values: Mapping[str, object]) -> tuple[Blocker, ...]:
    """Sessions by a condition on pg_stat_activity `a`, oldest transaction first. Reads; waits for nothing."""
    conn.execute(text("SELECT pg_stat_clear_snapshot()"))  # else a transaction sees pg_stat_activity as it first did
    rows = conn.execute(text(f"{_SESSIONS} WHERE {condition} ORDER BY since, a.pid"), dict(values)).mappings()
    return tuple(Blocker(**row) for row in rows)


def find_blockers(conn: Connection, tables: Mapping[str, str]) -> tuple[Blocker, ...]:
    """Who holds a lock now that conflicts with these (table to mode), or waits for one and so stands before us.

    Partitions and children count as their table. Standbys and idle walsenders hold no locks here and so never show. Reads
    pg_locks, pg_stat_activity and pg_prepared_xacts; waits for nothing.
    """
    conn.execute(text("SELECT pg_stat_clear_snapshot()"))
    conflicts = [",".join(_as_shown(other) for other in CONFLICTS[_spelled(mode)]) for mode in tables.values()]
    asked = {"tables": list(tables), "conflicts": conflicts}
    prepared = conn.execute(text(_PREPARED), asked).mappings().all()
    sessions = conn.execute(text(_IN_THE_WAY), asked).mappings().all()
    return (
        *(Blocker(pid=None, kind=PREPARED, **row) for row in prepared),
        *(Blocker(**row) for row in sessions),
    )


def end_blocker(conn: Connection, blocker: Blocker, policy: BlockerPolicy) -> tuple[bool, str]:
    """Cancel what a session does, or terminate it, when the policy and the server's rights allow it.

    Returns whether it was done, and the sentence about it. Never a prepared transaction, a server process that is no
    client's, a CREATE INDEX CONCURRENTLY, or, unless the policy says so, a dump or a session of this tool. The session
    is named by pid and start, so that one that came later under the same pid is left alone.
    """
    why_not = _why_not(blocker, policy)
    if why_not:
        return False, why_not
    session = {"pid": blocker.pid, "connected": blocker.connected, "since": blocker.since}
    conn.execute(text("SELECT pg_stat_clear_snapshot()"))
    if not conn.execute(text(_MAY_END), session).scalar():
        return False, Phrase(
            "left alone: this role may not end it (pg_signal_backend, and a superuser's only as a superuser)"
        )
    function = "pg_cancel_backend" if policy.on_blocker is OnBlocker.CANCEL else "pg_terminate_backend"
    try:
        with conn.begin_nested():
            sent = conn.execute(
                text(
                    f"SELECT {function}(a.pid) FROM pg_stat_activity a"
                    " WHERE a.pid = :pid AND a.backend_start = :connected AND a.xact_start = :since"
                ),
                session,
            ).scalar()
    except DBAPIError:
        sent = False
    done = Phrase("cancelled") if policy.on_blocker is OnBlocker.CANCEL else Phrase("terminated")
    return bool(sent), done if sent else Phrase("left alone: it had ended, or the server refused")


def _why_not(blocker: Blocker, policy: BlockerPolicy) -> str:
    """Pure. Why this one is not to be touched, empty when it may be."""
    if blocker.kind == PREPARED:
        return Phrase("left alone: {hint}", hint=prepared_hint(blocker))
    if blocker.kind != CLIENT:
        return Phrase("left alone: it is no client's session")
    if blocker.is_concurrent:
        return Phrase("left alone: it would leave an invalid index")
    if blocker.since is None:
        return Phrase("left alone: this role cannot see since when it is there (pg_read_all_stats)")
    if blocker.is_dump and not policy.even_dumps:
        return Phrase("left alone: a dump or a session of this tool (--even-dumps would)")
    if policy.on_blocker is OnBlocker.CANCEL and blocker.state in IDLE:
        return Phrase(
            "left alone: it is idle in its transaction, which a cancel does not end (--on-blocker terminate would)"
        )
    return ""


def _spelled(mode: str) -> str:
    """Pure. A lock mode as the manual spells it, however a revision does."""
    return " ".join(mode.upper().split())


def _as_shown(mode: str) -> str:
    """Pure. A lock mode as pg_locks spells it: ACCESS SHARE is AccessShareLock there."""
    return mode.title().replace(" ", "") + "Lock"


def prepared_hint(blocker: Blocker) -> str:
    """Pure. What only the operator can do about a prepared transaction: nobody else knows which of the two is right."""
    gid = blocker.gid.replace("'", "''")
    return Phrase(
        "COMMIT PREPARED '{gid}' or ROLLBACK PREPARED '{gid}', by {user} or a superuser in this database",
        gid=gid,
        user=blocker.user,
    )


def prepared_endings(blocker: Blocker) -> tuple[str, str]:
    """Pure. The two commands of that hint."""
    gid = blocker.gid.replace("'", "''")
    return f"COMMIT PREPARED '{gid}'", f"ROLLBACK PREPARED '{gid}'"
