"""Clients at work while the database goes up and down again and again: python -m tests.faults.soak [--seconds 300].

Up by the installed command, down by plain Alembic. Nothing that the server acknowledged may be lost, nobody may see users
empty, and nobody but the migration may lose a deadlock. Starts a server of its own, prints figures, and ends with 1 when
one of these does not hold.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import psycopg
from soaking import soak

from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import throwaway_server
from lawsker_db.safety.adoption import adopt
from lawsker_db.target import parse_target


def main() -> int:
    """Soak a sample database on a server of its own and print the figures."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seconds", type=float, default=300)
    asked.add_argument("--clients", type=int, default=16)
    asked.add_argument("--users", type=int, default=1000)
    asked.add_argument("--strategy", choices=("update", "rewrite"), default="", help="rewrite: users may look empty")
    given = asked.parse_args()
    with throwaway_server() as server, tempfile.TemporaryDirectory() as folder:
        with psycopg.connect(server.url(), autocommit=True) as conn:
            conn.execute("CREATE DATABASE soak TEMPLATE template0 ENCODING 'UTF8'")
        url = server.url("soak")
        load_sample(url, users=given.users)
        adopt(parse_target(url))
        until = time.monotonic() + given.seconds
        soaked = soak(
            url,
            Path(folder),
            clients=given.clients,
            go_on=lambda rounds: time.monotonic() < until,
            strategy=given.strategy,
        )
    for name, value in {**asdict(soaked), **asdict(soaked.outcome), "holds": soaked.holds}.items():
        if name != "outcome":
            sys.stdout.write(f"{name:<14} {value}\n")
    return 0 if soaked.holds else 1


if __name__ == "__main__":
    sys.exit(main())
