"""Clients at work while the database goes up and down again and again: python -m tests.faults.soak [--seconds 300].

Up by the installed command, down by plain Alembic. Nothing that the server acknowledged may be lost, nobody may see users
empty, and nobody but the migration may lose a deadlock. Starts a server of its own, prints figures, and ends with 1 when
one of these does not hold.
"""

# ruff: noqa: E402 - run as a program it has to find the support modules itself
from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import psycopg
from command_line import SLOW_S, environment, run
from working_clients import Outcome, at_work, outcome

from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import throwaway_server
from lawsker_db.safety.adoption import adopt
from lawsker_db.target import parse_target

UP = ("safe-upgrade", "--yes", "--no-rehearsal")
DOWN = ("-x", "discard=yes", "downgrade", "012")


@dataclass(frozen=True)
class Soaked:
    """How often it went up and down, and what became of the clients' work. `ended_badly`: what the tools said then."""

    seconds: float
    clients: int
    ups: int
    downs: int
    users_before: int
    ended_badly: tuple[str, ...]
    outcome: Outcome

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        seen = self.outcome
        kept = not (seen.lost or seen.deadlocks or seen.errors or self.ended_badly)
        return kept and seen.fewest_users >= self.users_before


def alembic(url: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Type `alembic ARGUMENTS` in the checkout."""
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        env=environment(folder, url),
        capture_output=True,
        text=True,
        timeout=SLOW_S,
        check=False,
    )


def soak(url: str, folder: Path, *, clients: int, go_on: Callable[[int], bool]) -> Soaked:
    """Go up and down while `go_on` says so of the number of rounds made, with clients at work on the adopted database."""
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT count(*) FROM users").fetchone()
    assert row is not None
    began = time.monotonic()
    badly: list[str] = []
    ups = downs = 0
    with at_work(url, clients) as ledgers:
        while go_on(downs) and not badly:
            up = run(folder, *UP, url=url)
            ups += up.code == 0
            if up.code:
                badly.append(f"exit {up.code}: {up.said}")
                break
            down = alembic(url, folder, *DOWN)
            downs += down.returncode == 0
            if down.returncode:
                badly.append(f"alembic {down.returncode}: {down.stdout}{down.stderr}")
    seconds = round(time.monotonic() - began, 1)
    return Soaked(seconds, clients, ups, downs, int(row[0]), tuple(badly), outcome(url, ledgers))


def main() -> int:
    """Soak a sample database on a server of its own and print the figures."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seconds", type=float, default=300)
    asked.add_argument("--clients", type=int, default=16)
    asked.add_argument("--users", type=int, default=1000)
    given = asked.parse_args()
    with throwaway_server() as server, tempfile.TemporaryDirectory() as folder:
        with psycopg.connect(server.url(), autocommit=True) as conn:
            conn.execute("CREATE DATABASE soak TEMPLATE template0 ENCODING 'UTF8'")
        url = server.url("soak")
        load_sample(url, users=given.users)
        adopt(parse_target(url))
        until = time.monotonic() + given.seconds
        soaked = soak(url, Path(folder), clients=given.clients, go_on=lambda rounds: time.monotonic() < until)
    for name, value in {**asdict(soaked), **asdict(soaked.outcome), "holds": soaked.holds}.items():
        if name != "outcome":
            sys.stdout.write(f"{name:<14} {value}\n")
    return 0 if soaked.holds else 1


if __name__ == "__main__":
    sys.exit(main())
