"""Where a database stands: its revision, what is pending, its runs, and what to type next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lawsker_db.evidence import Server
from lawsker_db.phrases import Phrase
from lawsker_db.postgres import locks
from lawsker_db.postgres.session import find_schema, identify, pin_session
from lawsker_db.record.history import PastRun, read_history
from lawsker_db.revisions import Chain, current_revisions, load_chain
from lawsker_db.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a database stands: its revision, what is pending, and its runs, oldest first."""

    server: Server
    current: tuple[str, ...]
    head: str
    pending: tuple[str, ...]
    history: tuple[PastRun, ...]
    at_work: tuple[str, ...]
    word: str
    hint: str


def look(target: Target, config: Path | None = None) -> Standing:
    """Where the database stands in the chain of `config` (the shipped one by default), and what to type next. Reads only."""
    chain = load_chain(config)
    with target.connect() as conn:
        conn.exec_driver_sql("SET TRANSACTION READ ONLY")
        pin_session(conn, find_schema(conn))
        server = identify(conn)
        # Asked before the history: whoever has committed by then is in it.
        at_work = tuple(session.label for session in locks.holders(conn, locks.MIGRATION))
        current = current_revisions(conn)
        history = read_history(conn, server)
        conn.rollback()
    if not current or not is_known(chain, current):
        word = Phrase("unknown revision") if current else Phrase("not stamped")
        hint = "lawsker-db adopt --dry-run"
        pending: tuple[str, ...] = ()
    else:
        upward = reversed(list(chain.scripts.iterate_revisions(chain.head, current[0])))
        pending = tuple(script.revision for script in upward)
        word, hint = (
            (Phrase("pending"), "lawsker-db safe-upgrade") if pending else (Phrase("at head"), "lawsker-db verify")
        )
    return Standing(
        server=server,
        current=current,
        head=chain.head,
        pending=pending,
        history=history,
        at_work=at_work,
        word=word,
        hint=hint,
    )


def is_known(chain: Chain, revisions: tuple[str, ...]) -> bool:
    """Whether the chain has all these revisions. Reads revision files."""
    return set(revisions) <= {script.revision for script in chain.scripts.walk_revisions()}
