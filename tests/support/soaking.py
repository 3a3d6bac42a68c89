"""Up and down again with clients at work: up by the installed command, down by plain Alembic."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
from command_line import SLOW_S, environment, run
from working_clients import Outcome, at_work, outcome

ROOT = Path(__file__).parents[2]
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


def soak(url: str, folder: Path, *, clients: int, go_on: Callable[[int], bool], strategy: str = "") -> Soaked:
    """Go up and down while `go_on` says so of the number of rounds made, with clients at work on the adopted database.

    `strategy` is how users is filled, by default as its size says.
    """
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT count(*) FROM users").fetchone()
    assert row is not None
    chosen = ("--option", f"users={strategy}") if strategy else ()
    began = time.monotonic()
    badly: list[str] = []
    ups = downs = 0
    with at_work(url, clients) as ledgers:
        while go_on(downs) and not badly:
            up = run(folder, *UP, *chosen, url=url)
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
