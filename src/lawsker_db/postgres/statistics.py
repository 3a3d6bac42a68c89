"""Statistics of a whole database: a restored one has none, and its first queries would be planned blindly."""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import text

from lawsker_db.postgres.content import connected_reader, end_readers, mark_readers
from lawsker_db.postgres.session import literal
from lawsker_db.target import Target

# A partition is gathered with its parent; what is read through a foreign table is not here.
_TABLES = """
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_(toast|temp|toast_temp)'
    ORDER BY pg_relation_size(c.oid) DESC, 1"""


def analyze_all(target: Target, *, connections: int) -> None:
    """ANALYZE every table of a database, the largest first, with so many connections at once. Writes statistics alone.

    SHARE UPDATE EXCLUSIVE on each table for as long as it is sampled. What this role may not analyze is passed over, as
    the server does it. The first error ends all.
    """
    marked = mark_readers(target)
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    with target.connect() as conn:
        for name in conn.execute(text(_TABLES)).scalars():
            waiting.put(str(name))
        conn.rollback()

    def work() -> None:
        with connected_reader(marked, autocommit=True) as conn:
            for setting in ("statement_timeout = 0", "lock_timeout = 0", "client_min_messages = error"):
                conn.execute(literal(f"SET {setting}"))
            while True:
                try:
                    name = waiting.get_nowait()
                except queue.Empty:
                    return
                conn.execute(literal(f"ANALYZE {name}"))

    with ThreadPoolExecutor(max_workers=connections) as pool:
        parts = [pool.submit(work) for _ in range(connections)]
        try:
            for part in parts:
                part.result()
        except BaseException:
            end_readers(target, marked, lambda: all(part.done() for part in parts))
            raise
