"""Whether anything was written since: asked of the server's WAL and of the sequences, not of the product.

Every transaction that has written, committed or not, leaves a record in WAL, whatever it wrote. The one write without a
record is a sequence that hands out numbers it has reserved before, so those are asked too. What others write on the server,
and a checkpoint, move WAL as well: then nothing is known, and the whole database must be looked at. A server that was
started again may have lost WAL: that is another place too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import TypeVar

import psycopg

Seen = TypeVar("Seen")
PLACE = (
    "SELECT pg_postmaster_start_time() || ' ' || pg_current_wal_insert_lsn(), (SELECT string_agg(seqrelid || ' '"
    " || coalesce(pg_sequence_last_value(seqrelid), 0), ',' ORDER BY seqrelid) FROM pg_sequence)"
)
QUIET = (
    "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid())"
    " AND NOT EXISTS (SELECT FROM pg_prepared_xacts)"
)
Place = tuple[str, str | None]
_clones: dict[str, tuple[Place, str]] = {}


def place(url: str) -> Place | None:
    """Where the server's WAL and this database's sequences stand; None on a standby, and where it may not be asked."""
    try:
        with psycopg.connect(url) as conn:
            row = conn.execute(PLACE).fetchone()
    except psycopg.Error:
        return None
    return None if row is None else (str(row[0]), row[1])


def is_quiet(url: str) -> bool:
    """Whether nobody else is in the database, and no transaction is prepared."""
    with psycopg.connect(url) as conn:
        row = conn.execute(QUIET).fetchone()
    return row is not None and bool(row[0])


def remember_clone(url: str, template_url: str) -> None:
    """This database was made from a template just now, and nobody has been in it."""
    now = place(url)
    if now is not None:
        _clones[url] = now, template_url


def is_as_cloned(url: str) -> bool:
    """Whether nothing was written on its server since this database was made from its template."""
    return url in _clones and _clones[url][0] == place(url)


def remembered(look: Callable[[str], Seen]) -> Callable[[str], Seen]:
    """A costly look at a database that only reads, which is not repeated while nothing is written; at a clone that nobody
    has written to, what its template gives."""
    last: dict[str, tuple[Place | None, Seen]] = {}
    of_template = cache(look)

    @wraps(look)
    def look_again(url: str) -> Seen:
        now = place(url)
        if now is None:
            return look(url)
        if url in last and last[url][0] == now:
            return last[url][1]
        if url in _clones and _clones[url][0] == now:
            return of_template(_clones[url][1])
        found = look(url)
        last[url] = (now if place(url) == now else None), found
        return found

    return look_again
