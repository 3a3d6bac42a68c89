"""A seal on a transaction: a COMMIT that is not ours fails and rolls back.

A temporary table of the session carries a deferred constraint trigger that raises unless the gate has set its key. It
fires at COMMIT, whoever sends it, also under session_replication_role = replica (ENABLE ALWAYS). Statements that end a
transaction are refused before they are sent, which also covers ROLLBACK, after which a seal would be gone. The table
holds the key's SHA-256 alone, and each key opens once.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Connection, event, text

from lawsker_db.errors import GateRefused
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.session import transaction_id

SEALED = "LW001"  # our SQLSTATE: class LW is used by nobody else
_KEY = "lawsker_db.seal"

_CREATE = f"""
CREATE TEMPORARY TABLE lawsker_seal (key text NOT NULL) ON COMMIT PRESERVE ROWS;
CREATE FUNCTION pg_temp.lawsker_sealed() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF encode(sha256(convert_to(coalesce(current_setting('{_KEY}', true), ''), 'UTF8')), 'hex') IS DISTINCT FROM NEW.key THEN
    RAISE EXCEPTION 'this transaction may only be ended by the gate' USING ERRCODE = '{SEALED}';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER lawsker_seal AFTER INSERT ON pg_temp.lawsker_seal DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION pg_temp.lawsker_sealed();
ALTER TABLE pg_temp.lawsker_seal ENABLE ALWAYS TRIGGER lawsker_seal;
"""

_TOKEN = re.compile(
    r"""(?<![\w$])[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | (?P<comment>/\*)
    | (?P<dollar>(?<![\w$])\$(?:[^\W\d]\w*)?\$).*?(?P=dollar)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")  # comments nest (manual, "Comments")
_ROUTINE = re.compile(r"\s*CREATE\b.*\b(FUNCTION|PROCEDURE)\b", re.IGNORECASE | re.DOTALL)
_BLOCK = re.compile(r"\b(BEGIN\s+ATOMIC|CASE|END)\b", re.IGNORECASE)
_CONTROL = re.compile(
    r"\s*(COMMIT|END|ABORT|BEGIN|START\s+TRANSACTION|PREPARE\s+TRANSACTION|ROLLBACK(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b))\b",
    re.IGNORECASE,
)


class Seal:
    """The seal of one transaction: armed when it begins, opened by the gate alone."""

    def __init__(self, conn: Connection) -> None:
        """Remember the connection; `arm` does the work."""
        self._conn = conn
        self._key = ""
        self._transaction = 0

    def arm(self) -> None:
        """Seal the transaction that is open. `create_seal` has made the table in one before. Assigns a transaction id."""
        self._transaction = transaction_id(self._conn)
        self._key = secrets.token_hex(16)
        digest = hashlib.sha256(self._key.encode()).hexdigest()
        self._conn.execute(text("SET CONSTRAINTS pg_temp.lawsker_seal DEFERRED"))
        self._conn.execute(text("INSERT INTO pg_temp.lawsker_seal VALUES (:key)"), {"key": digest})

    def open(self) -> None:
        """Set the key, so that COMMIT and SET CONSTRAINTS ALL IMMEDIATE pass from here on."""
        self._conn.execute(text(f"SELECT set_config('{_KEY}', :key, true)"), {"key": self._key})

    def force_constraints(self) -> None:
        """Have every deferred constraint checked and every deferred trigger fired now, then seal again.

        What such triggers write is then seen by the judgement that follows. Raises `GateRefused` when the transaction is
        not the one that was sealed.
        """
        self.require_same_transaction()
        self.open_for_good()
        self._conn.execute(text(f"SELECT set_config('{_KEY}', '', true)"))
        self.arm()

    def open_for_good(self) -> None:
        """Open the seal and have done now what would wait for COMMIT: deferred constraints and triggers, and cursors WITH
        HOLD, whose queries COMMIT would run. After it nothing is left for COMMIT to do but a trigger that defers itself."""
        self.open()
        self._conn.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        self._conn.execute(text("CLOSE ALL"))

    def deferring_triggers(self) -> tuple[str, ...]:
        """Deferrable triggers on temporary tables, the seal's apart. One could put itself off until COMMIT, again and
        again: no comparison looks at those. Reads the catalog."""
        rows = self._conn.execute(
            text(
                "SELECT quote_ident(t.tgname) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
                " WHERE c.relpersistence = 't' AND c.relnamespace = pg_my_temp_schema() AND t.tgdeferrable"
                " AND NOT t.tgisinternal AND t.tgrelid <> to_regclass('pg_temp.lawsker_seal') ORDER BY 1"
            )
        )
        return tuple(str(row[0]) for row in rows)

    def require_same_transaction(self) -> None:
        """Raise `GateRefused` when the transaction that was sealed has ended and another has begun."""
        if transaction_id(self._conn) != self._transaction:
            raise GateRefused(
                Phrase(
                    "The revision ended the transaction that it was run in; the gate can prove nothing about what "
                    "it did."
                ),
                hint=Phrase("take COMMIT and ROLLBACK out of the revision"),
            )


def create_seal(conn: Connection) -> None:
    """Create the seal's temporary table and trigger in a transaction of their own, commit it, and begin the next one.

    That one may write; later ones of this session are READ ONLY, so that nothing can be committed behind a ROLLBACK that
    left the seal. Needs TEMPORARY on the database. Nothing outlives the session. A table made in the migration's own
    transaction would be gone with a ROLLBACK in a revision, and the seal with it.
    """
    conn.exec_driver_sql(f"{_CREATE} SET default_transaction_read_only = on;")
    conn.commit()
    driver = conn.connection.driver_connection
    if isinstance(driver, psycopg.Connection):
        driver.read_only = None  # otherwise each BEGIN of the driver says READ WRITE by itself
    conn.exec_driver_sql("SET TRANSACTION READ WRITE")


def create_seal_here(conn: Connection) -> None:
    """Create the seal in a transaction that somebody else has opened and will end. Nothing is committed."""
    if conn.execute(text("SELECT to_regclass('pg_temp.lawsker_seal')")).scalar_one() is None:
        conn.exec_driver_sql(_CREATE)


@contextmanager
def no_transaction_control(conn: Connection, on_statement: Callable[[str], None]) -> Iterator[None]:
    """Refuse, for the block, statements on this connection that end or begin a transaction, before they are sent.

    `on_statement` is told each statement that goes to the server. Raises `GateRefused` in the place where the revision
    tried it.
    """

    def look(
        _conn: object, _cursor: object, statement: str, _parameters: object, _context: object, _many: object
    ) -> None:
        word = transaction_control(statement)
        if word:
            raise _refusal(word)
        on_statement(statement)

    def commit(_conn: object) -> None:
        raise _refusal("COMMIT")

    event.listen(conn, "before_cursor_execute", look)
    event.listen(conn, "commit", commit)
    try:
        yield
    finally:
        event.remove(conn, "before_cursor_execute", look)
        event.remove(conn, "commit", commit)


def transaction_control(sql: str) -> str | None:
    """Pure. The first word in `sql` that would end or begin a transaction, None when there is none.

    Looks at the start of each statement, with strings, comments and quoted bodies left out. (COMMIT inside a DO block is
    refused by the server itself within a transaction.)
    """
    for statement in _statements(sql):
        match = _CONTROL.match(statement)
        if match:
            return " ".join(match[1].upper().split())
    return None


def _statements(sql: str) -> Iterator[str]:
    """Pure. The statements in `sql`; what stands in the body of a routine (BEGIN ATOMIC ... END) is left out."""
    depth = 0
    for piece in _blanked(sql).split(";"):
        if depth == 0:
            yield piece
        if depth or _ROUTINE.match(piece):
            depth = max(0, depth + sum(-1 if word.upper() == "END" else 1 for word in _BLOCK.findall(piece)))


def _blanked(sql: str) -> str:
    """Pure. A comment becomes a space, a string or quoted name a quote: no key word starts there."""
    pieces: list[str] = []
    place = 0
    while token := _TOKEN.search(sql, place):
        comment = token["comment"] or token[0].startswith("--")
        pieces += (sql[place : token.start()], " " if comment else "'")
        place = _comment_end(sql, token.end()) if token["comment"] else token.end()
    return "".join((*pieces, sql[place:]))


def _comment_end(sql: str, place: int) -> int:
    """Pure. Where the comment ends that was opened before `place`."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(sql, place):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(sql)


def _refusal(word: str) -> GateRefused:
    return GateRefused(
        Phrase("The revision tried {word} inside the guarded transaction.", word=word),
        hint=Phrase("take {word} out of the revision: the tool commits, once, after the gate", word=word),
    )
