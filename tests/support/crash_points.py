"""Which crash points there are: chosen from the census of an undisturbed run, the same ones every time. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

from crash_run import Point
from strikes import Fault, Moment, Seen
from wire import COMMITTING, MIGRATING

AT_COMMIT, NEAR_COMMIT = 12, 60  # messages of the migration's connection up to COMMIT
QUICK = (Fault.KILL, Fault.TERM, Fault.INT, Fault.GROUP, Fault.RESET, Fault.CUT, Fault.DOWN)
OVER_TCP = (Fault.RESET, Fault.CUT, Fault.DOWN)
TCP_SHARE = 0.3
SHIPPED_SHARE = 0.1
SEED = "lawsker"
Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True, eq=False)
class Census:
    """The messages of an undisturbed run on one ground, those of the migration's own connection, and its COMMIT."""

    ground: str
    seen: tuple[Seen, ...]
    migration: tuple[Seen, ...]
    commit: Seen


def read_census(ground: str, seen: Iterable[Seen]) -> Census:
    """Find the migration among the messages."""
    listed = tuple(seen)
    migration = tuple(message for message in listed if message.label.partition("#")[0] in (MIGRATING, COMMITTING))
    commit = next(message for message in reversed(migration) if message.text == "COMMIT")
    return Census(ground, listed, migration, commit)


def moments(message: Seen) -> tuple[Moment, ...]:
    """When a message can be struck: what the server does not answer by itself, only before and as it is sent."""
    return tuple(Moment) if message.kind in ("Q", "S", "F", "startup") else (Moment.BEFORE, Moment.SENT)


def choose(census: Census, number: int) -> tuple[Point, ...]:
    """That many points: those of COMMIT itself, then what must be among them, then the rest; all in a fixed disorder, so
    that the first hundreds are of every sort."""
    must = [*_at_commit(census), *_swallowed(census), *_near_commit(census), *_after_commit(census), *_kinds(census)]
    place = (census.commit.label, census.commit.ordinal)
    wanted = [point for point in must if (point.label, point.ordinal) == place]
    wanted += [*sorted(must, key=_chance), *sorted(_spread(census), key=_chance)]
    return tuple({point.name: point for point in wanted}.values())[:number]


def both(small: Census, shipped: Census, number: int) -> tuple[Point, ...]:
    """Points of both grounds; the shipped chain's, which cost more, are a tenth, spread among the others."""
    share = int(number * SHIPPED_SHARE)
    mine, theirs = choose(small, number - share), choose(shipped, share)
    step = max(1, len(mine) // max(1, share))
    mixed = [point for at in range(0, len(mine), step) for point in (*theirs[at // step :][:1], *mine[at : at + step])]
    return tuple(dict.fromkeys((*mixed, *theirs)))


def shard(points: Iterable[Point], part: int, parts: int) -> tuple[Point, ...]:
    """The part of the points that is this machine's; the same ones whatever the census of another looks like."""
    return tuple(point for point in points if int(_chance(point) * parts) == part - 1)


def point_at(census: Census, message: Seen, moment: Moment, fault: Fault, *, tcp: bool | None = None) -> Point:
    """The point that strikes at this message; where it is not said, some of those that cut connections do so over TCP."""
    point = Point(
        ground=census.ground,
        label=message.label,
        ordinal=message.ordinal,
        moment=moment,
        fault=fault,
        about=f"{message.kind} {message.text}".strip(),
    )
    drawn = fault in OVER_TCP and _chance(point) < TCP_SHARE
    return replace(point, tcp=drawn if tcp is None else tcp)


def up_to_commit(census: Census, number: int) -> tuple[Seen, ...]:
    """The last messages of the migration, COMMIT among them."""
    end = census.migration.index(census.commit) + 1
    return census.migration[end - number : end]


def _at_commit(census: Census) -> Iterator[Point]:
    """Every moment and every fault at the last messages up to COMMIT."""
    for message in up_to_commit(census, AT_COMMIT):
        for moment, fault in product(moments(message), QUICK):
            yield point_at(census, message, moment, fault)


def _near_commit(census: Census) -> Iterator[Point]:
    """Every moment at each of the messages before those, killed and one fault more."""
    for message in up_to_commit(census, NEAR_COMMIT)[:-AT_COMMIT]:
        for moment in moments(message):
            yield point_at(census, message, moment, Fault.KILL)
            yield point_at(census, message, moment, _drawn(message, moment, 1))


def _after_commit(census: Census) -> Iterator[Point]:
    """Each message of every connection that comes after COMMIT, once."""
    for message in census.seen[census.seen.index(census.commit) + 1 :]:
        moment = _one_of(moments(message), f"{message.label} {message.ordinal}")
        yield point_at(census, message, moment, _drawn(message, moment, 0))


def _kinds(census: Census) -> Iterator[Point]:
    """Every kind of message on every connection, at every moment, with two faults."""
    for label, kind in dict.fromkeys((message.label, message.kind) for message in census.seen):
        same = [message for message in census.seen if (message.label, message.kind) == (label, kind)]
        for moment, turn in product(moments(same[0]), (0, 1)):
            message = _one_of(same, f"{label} {kind} {moment} {turn}")
            yield point_at(census, message, moment, _drawn(message, moment, turn))


def _swallowed(census: Census) -> Iterator[Point]:
    """Silent drops, at COMMIT and one on each road: they are slow."""
    yield point_at(census, census.commit, Moment.BEFORE, Fault.DROP)
    yield point_at(census, census.commit, Moment.ANSWERED, Fault.DROP)
    yield point_at(census, census.commit, Moment.SENT, Fault.SILENCE)
    confirming = census.seen[census.seen.index(census.commit) + 1 :]
    for messages in (census.migration, confirming, *_roads(census)):
        asked = [message for message in messages if message.kind == "Q"]
        if asked:
            yield point_at(census, asked[len(asked) // 2], Moment.BEFORE, Fault.DROP)


def _roads(census: Census) -> list[list[Seen]]:
    """The messages by who sent them, wherever to."""
    found: dict[str, list[Seen]] = {}
    for message in census.seen:
        found.setdefault(message.label.partition("#")[0], []).append(message)
    return list(found.values())


def _spread(census: Census) -> Iterator[Point]:
    """Every message at one moment, with one fault."""
    for message in census.seen:
        moment = _one_of(moments(message), f"spread {message.label} {message.ordinal}")
        yield point_at(census, message, moment, _drawn(message, moment, 2))


def _drawn(message: Seen, moment: Moment, turn: int) -> Fault:
    """One of the faults, by lot; another turn gives another one."""
    first = int(_draw(f"{message.label} {message.ordinal} {moment}") * len(QUICK))
    return QUICK[(first + turn) % len(QUICK)]


def _one_of(things: Sequence[Thing], words: str) -> Thing:
    return things[int(_draw(words) * len(things))]


def _chance(point: Point) -> float:
    return _draw(point.name)


def _draw(words: str) -> float:
    """From 0 to 1 by lot, the same one for the same words."""
    return int.from_bytes(hashlib.sha256(f"{SEED} {words}".encode()).digest()[:7], "big") / 2**56
