"""The loop: a look every so often, whatever becomes of the server meanwhile, and at the end what there was to see."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from lawsker_db.errors import LawskerError, Unreachable
from lawsker_db.monitor.problem import LIMITS, Limits, Problem
from lawsker_db.monitor.rules import problems
from lawsker_db.monitor.sample import Rates, Sample, rates, take_sample, unreachable_sample
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.pulse import bounded, shut
from lawsker_db.revisions import Chain, load_chain
from lawsker_db.target import APPLICATION, Target, said_by_server

MONITOR = f"{APPLICATION} monitor"
CONNECT_S = 5  # a live server answers at once; whoever wants to wait longer says so in the URL (connect_timeout)
LOOK_S = 10.0  # connecting and all questions: beyond it the server counts as gone, whatever became of it
CLOSE_S = 2.0
BACKOFF_MOST_S = 15.0  # between two attempts: it came back 15 s ago at most when that is told
SPANS_KEPT = 1000  # problems that are over: a watch may last for weeks
POLL_S = 0.2  # how soon the end is noticed

OnLook = Callable[["Look"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a view shows: a sample, the rates since the one before, and the problems, gravest first."""

    sample: Sample
    rates: Rates
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number over the whole time: least, mean and most of the `looks` in which it was seen. Its unit is in its name (_s,
    _bytes, _per_s; cache_hits is a share)."""

    name: str
    looks: int
    least: float
    mean: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A problem from the first look that found it in a row to the last one; `over`: a later look did not find it. `problem`
    is as it was seen last."""

    problem: Problem
    first_at: datetime
    last_at: datetime
    over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The whole time of watching. `looks` and how many of them found the server `unreachable`; `away_s`: seconds for which
    it was."""

    target: str
    began_at: datetime
    ended_at: datetime
    looks: int
    unreachable: int
    away_s: float
    figures: tuple[Figure, ...]
    spans: tuple[Span, ...]


def watch(
    target: Target,
    *,
    interval_s: float,
    until: Callable[[], bool],
    on_look: OnLook,
    chain: Chain | None = None,
    runs: Path | None = None,
    limits: Limits = LIMITS,
) -> Summary:
    """Look at a database every `interval_s` seconds until `until` says so, or Ctrl-C; hand each look to `on_look`.

    `until` is asked after each look and a few times a second between two. One connection, named `lawsker-db monitor`; each
    look is a READ ONLY transaction that is rolled back. A server that goes away, or hangs, ends nothing: that is told,
    and it is asked again, the longer it is away the more seldom. Never raises for what becomes of the server.
    """
    chain = chain or load_chain()
    link = _Link(target=_as_monitor(target), chain=chain, runs=runs)
    account = _Account(target=target.label)
    try:
        next_at = time.monotonic()
        while True:
            before = link.reached
            sample = link.look()
            seen = Look(sample=sample, rates=rates(before, sample), problems=problems(before, sample, limits))
            account.note(seen)
            on_look(seen)
            next_at = max(next_at + interval_s, time.monotonic())  # what was missed is not made up for
            if _ended(until, next_at):
                break
    except KeyboardInterrupt:
        pass  # that is how a watch is ended
    finally:
        link.close()
    return account.summary()


def _ended(until: Callable[[], bool], next_at: float) -> bool:
    """Whether the end came before the next look."""
    while not until():
        left = next_at - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(POLL_S, left))
    return True


def _as_monitor(target: Target) -> Target:
    """Pure. The same target under a name of our own (a run that has to end blockers may end us), and in less of a hurry to
    wait: what the operator says in the URL wins."""
    ours = {"connect_timeout": str(CONNECT_S)}
    return replace(target, parameters={**ours, **target.parameters, "application_name": MONITOR})


@dataclass(slots=True, kw_only=True)
class _Link:
    """The connection of a watch, made when it is needed, and what is known of the server's absence. `reached` is the last
    look that reached it; `asked_at` and `lost_at` are monotonic seconds."""

    target: Target
    chain: Chain
    runs: Path | None
    reached: Sample | None = None
    lost: Unreachable | None = None
    lost_at: float = 0.0
    next_try_at: float = 0.0
    tries: int = 0
    conn: Connection | None = None
    raw: psycopg.Connection[object] | None = None
    stack: ExitStack = field(default_factory=ExitStack)
    generation: int = 0

    def look(self) -> Sample:
        """A look at the server, or at its absence."""
        now = time.monotonic()
        if self.lost is not None and now < self.next_try_at:
            return self._absent(self.lost)
        generation = self.generation
        try:
            sample = bounded(LOOK_S, lambda: self._take(generation))
        except TimeoutError:
            words = Phrase("the server did not answer within {limit_s:.0f} s", limit_s=LOOK_S)
            return self._gone(Unreachable(words, hint=Phrase("look at the server: is it stopped, or overloaded?")), now)
        except LawskerError as failed:
            return self._gone(Unreachable(failed.message, hint=failed.hint), now)
        except (DBAPIError, psycopg.Error) as failed:
            said = said_by_server(getattr(failed, "orig", failed)) or Phrase("the server went away")
            words = Phrase("the connection was lost: {said}", said=said)
            return self._gone(Unreachable(words, hint=Phrase("look at the server and its log")), now)
        if self.lost is not None:
            sample = replace(sample, back_after_s=time.monotonic() - self.lost_at)
        self.reached, self.lost, self.tries = sample, None, 0
        return sample

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        self.generation += 1
        raw, stack = self.raw, self.stack
        self.conn, self.raw, self.stack = None, None, ExitStack()
        with suppress(TimeoutError, LawskerError, SQLAlchemyError, psycopg.Error):
            bounded(CLOSE_S, stack.close)
            return
        if raw is not None and not raw.closed:
            shut(raw)

    def _take(self, generation: int) -> Sample:
        """Connect where that must be, and look. Runs aside: what comes too late closes what it has opened."""
        if self.conn is None:
            with ExitStack() as opened:
                conn = opened.enter_context(self.target.connect())
                raw = conn.connection.driver_connection
                if generation != self.generation:
                    raise TimeoutError
                self.conn, self.raw = conn, raw if isinstance(raw, psycopg.Connection) else None
                self.stack = opened.pop_all()
        return take_sample(self.conn, self.target.label, self.chain, runs=self.runs, before=self.reached)

    def _gone(self, why: Unreachable, since: float) -> Sample:
        """Note that the server is away, and until when it is left alone."""
        if self.raw is not None and not self.raw.closed:
            shut(self.raw)  # or who waits for its answer, aside, would wait for ever
        self.close()
        if self.lost is None:
            self.lost_at = since
        self.lost, self.tries = why, self.tries + 1
        self.next_try_at = time.monotonic() + min(BACKOFF_MOST_S, 2.0 ** (self.tries - 1) / 2)
        return self._absent(why)

    def _absent(self, why: Unreachable) -> Sample:
        away_s = time.monotonic() - self.lost_at
        return unreachable_sample(self.target.label, why.message, why.hint, away_s, runs=self.runs, before=self.reached)


@dataclass(slots=True, kw_only=True)
class _Tally:
    """A number as it was seen."""

    looks: int = 0
    total: float = 0.0
    least: float = 0.0
    most: float = 0.0

    def add(self, value: float) -> None:
        """Take one more."""
        self.least = min(self.least, value) if self.looks else value
        self.most = max(self.most, value) if self.looks else value
        self.total += value
        self.looks += 1


@dataclass(slots=True, kw_only=True)
class _Account:
    """What a watch has seen so far. Of constant size but for the problems: a watch may last for weeks."""

    target: str
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    looks: int = 0
    unreachable: int = 0
    away_s: float = 0.0
    tallies: dict[str, _Tally] = field(default_factory=dict)
    spans: dict[tuple[str, str], Span] = field(default_factory=dict)
    over: list[Span] = field(default_factory=list)
    _away_now_s: float = 0.0

    def note(self, seen: Look) -> None:
        """Take one look into account."""
        sample = seen.sample
        self.looks += 1
        self.unreachable += not sample.reachable
        if sample.away_s is not None:
            self._away_now_s = sample.away_s
        elif self._away_now_s:
            self.away_s, self._away_now_s = self.away_s + (sample.back_after_s or self._away_now_s), 0.0
        for name, value in figures_of(seen):
            self.tallies.setdefault(name, _Tally()).add(value)
        self._note_problems(sample.at, {(one.code, one.subject): one for one in seen.problems}, sample)

    def _note_problems(self, at: datetime, found: dict[tuple[str, str], Problem], sample: Sample) -> None:
        """Problems go on, end, or begin. While the server is away nobody knows of those that only it can show."""
        for key in [key for key in self.spans if key not in found and sample.reachable]:
            self.over.append(replace(self.spans.pop(key), over=True))
        del self.over[:-SPANS_KEPT]
        for key, problem in found.items():
            first_at = self.spans[key].first_at if key in self.spans else at
            self.spans[key] = Span(problem=problem, first_at=first_at, last_at=at, over=False)

    def summary(self) -> Summary:
        """The whole time."""
        return Summary(
            target=self.target,
            began_at=self.began_at,
            ended_at=datetime.now(UTC),
            looks=self.looks,
            unreachable=self.unreachable,
            away_s=self.away_s + self._away_now_s,
            figures=tuple(
                Figure(name=name, looks=tally.looks, least=tally.least, mean=tally.total / tally.looks, most=tally.most)
                for name, tally in self.tallies.items()
            ),
            spans=tuple(sorted((*self.over, *self.spans.values()), key=lambda span: span.first_at)),
        )


def figures_of(seen: Look) -> Iterator[tuple[str, float]]:
    """Pure. The numbers of a look that a summary, a trend or a chart is made of, as far as they were seen. The unit is in
    the name; `cache_hits` is a share."""
    sample, seen_rates = seen.sample, seen.rates
    sessions, upkeep, replication = sample.sessions, sample.upkeep, sample.replication
    transactions, waits = sample.transactions if sample.shows_all else None, sample.waits
    lags = [one.lag_bytes for one in replication.standbys if one.lag_bytes is not None] if replication else []
    numbers: tuple[tuple[str, float | None], ...] = (
        ("latency_s", sample.latency_s),
        ("sessions", sessions.here if sessions else None),
        ("sessions_active", sessions.by_state.get("active", 0) if sessions and sample.shows_all else None),
        ("waiting", None if waits is None else len(waits)),
        (
            "longest_transaction_s",
            None if transactions is None else max((one.age_s for one in transactions), default=0),
        ),
        ("transactions_per_s", seen_rates.transactions_per_s),
        ("wal_bytes_per_s", seen_rates.wal_bytes_per_s),
        ("cache_hits", seen_rates.cache_hits),
        ("database_bytes", sample.database_bytes),
        ("dead_rows", upkeep.dead if upkeep else None),
        ("standby_lag_bytes", max(lags, default=None)),
        ("disk_free_bytes", min((disk.free for disk in sample.disks or ()), default=None)),
    )
    yield from ((name, float(number)) for name, number in numbers if number is not None)
