"""What a run says and does while others stand in the way of its table locks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from sqlalchemy import Connection

from lawsker_db.errors import LockNotObtained
from lawsker_db.evidence import Event, LockHeld, OnEvent, Phase
from lawsker_db.phrases import Phrase, first_of
from lawsker_db.postgres import locks
from lawsker_db.postgres.blockers import Blocker, BlockerPolicy, OnBlocker, end_blocker, named
from lawsker_db.postgres.catalog import hold_definitions
from lawsker_db.postgres.older_snapshots import SNAPSHOT_PATIENCE_S, lasting_snapshots, outlast, snapshot_in_the_way

ACTS = (OnBlocker.CANCEL, OnBlocker.TERMINATE)
SHOWN = 5  # sessions in one line; the event's facts have them all


@dataclass(slots=True, kw_only=True)
class Waiting:
    """How long in all, and in one try, and in what manner one migration transaction waits for locks; `told` is who was named
    already."""

    patience_s: float
    policy: BlockerPolicy
    on_event: OnEvent
    attempt_s: float = locks.ATTEMPT_S
    told: set[tuple[int | str | None, object]] = field(default_factory=set)

    def take(self, conn: Connection, tables: Mapping[str, str], *, rewrites: bool) -> tuple[LockHeld, ...]:
        """Take table locks as `locks.lock_tables` does, and those that reading the catalog behind them will need; tell who
        is in the way, and treat them as the policy says.

        Raises `LockNotObtained`: when the patience is over, or at the first failed attempt where the policy is to abort.
        """

        deadline = time.monotonic() + self.patience_s

        def blocked(blockers: tuple[Blocker, ...], attempt: int) -> None:
            self._say_wait(blockers, attempt)
            if self.policy.on_blocker is OnBlocker.ABORT:
                raise gave_way(blockers)
            if self.policy.on_blocker in ACTS and time.monotonic() < deadline:  # nobody for an attempt that is not made
                self._end(conn, blockers)

        granted = locks.lock_tables(
            conn,
            tables,
            rewrites=rewrites,
            patience_s=self.patience_s,
            attempt_s=self.attempt_s,
            on_wait=blocked,
            on_snapshot=self._say_wait,
            before=lambda: hold_definitions(conn, f"{locks.ATTEMPT_S * 1000:.0f}ms"),
        )
        for lock in granted:
            words = Phrase(
                "{mode} on {table} (try {attempts})", mode=lock.mode, table=lock.table, attempts=lock.attempts
            )
            self._say("locked", words, table=lock.table, mode=lock.mode)
        return granted

    def outlast_snapshots(self, conn: Connection) -> None:
        """Behind the locks, before COMMIT: wait for snapshots that last. Raises `LockNotObtained` when they outlast us."""
        left = outlast(conn, lasting_snapshots, patience_s=SNAPSHOT_PATIENCE_S, on_wait=self._say_wait)
        if left:
            raise snapshot_in_the_way(left)

    def _end(self, conn: Connection, blockers: tuple[Blocker, ...]) -> None:
        """Cancel or terminate those that hold what we want. Who only waits, or holds a snapshot, is left alone."""
        for blocker in blockers:
            if not blocker.holds:
                continue
            done, words = end_blocker(conn, blocker, self.policy)
            key = (blocker.pid or blocker.gid, words)
            if done or key not in self.told:
                self.told.add(key)
                self._say(
                    "blocker",
                    Phrase("{what}: {who}", what=words, who=blocker.label),
                    done=done,
                    blocker=asdict(blocker),
                )

    def _say_wait(self, blockers: tuple[Blocker, ...], attempt: int) -> None:
        """Name them. Lasting, so in the journal and on every kind of display, when one of them was not named before."""
        shown = first_of([blocker.label for blocker in blockers], SHOWN, "; ") or named(blockers)
        keys = {blocker.named for blocker in blockers if blocker.holds}
        words = Phrase("waiting for locks, try {attempt}: {shown}", attempt=attempt, shown=shown)
        facts = {"attempt": attempt, "blockers": tuple(asdict(blocker) for blocker in blockers)}
        self._say("waiting", words, lasting=bool(keys - self.told), **facts)
        self.told |= keys

    def _say(self, name: str, words: str, *, lasting: bool = True, **facts: object) -> None:
        self.on_event(Event(phase=Phase.MIGRATION, name=name, text=words, facts=facts, lasting=lasting))


def gave_way(blockers: tuple[Blocker, ...]) -> LockNotObtained:
    """Pure. The error of a run that was told not to wait."""
    return LockNotObtained(
        Phrase("Gave way at the first failed attempt (--on-blocker abort). In the way: {who}.", who=named(blockers)),
        hint=locks.way_out(blockers),
        blockers=blockers,
    )
