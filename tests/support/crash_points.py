"""Which crash points there are: chosen from the census of an undisturbed run, the same ones every time. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import product

from crash_run import Point
from strikes import Fault, Moment, Seen

MARKER = "INSERT INTO lawsker_db.migration_run"
AT_COMMIT, NEAR_COMMIT = 12, 60  # messages of the migration's connection up to COMMIT
QUICK = (Fault.KILL, Fault.TERM, Fault.INT, Fault.GROUP, Fault.RESET, Fault.CUT, Fault.DOWN)
OVER_TCP = (Fault.RESET, Fault.CUT, Fault.DOWN)
TCP_SHARE = 0.3
SHIPPED_SHARE = 0.1
SEED = "lawsker"


def migration(seen: Iterable[Seen]) -> list[Seen]:
    """The messages of the migration's own connection: the one that writes the marker."""
    listed = list(seen)
    label = next(message.label for message in listed if message.text.startswith(MARKER))
    return [message for message in listed if message.label == label]


def commit(seen: Iterable[Seen]) -> Seen:
    """The COMMIT of the migration."""
    return next(message for message in reversed(migration(seen)) if message.text == "COMMIT")


def moments(message: Seen) -> tuple[Moment, ...]:
    """When a message can be struck: what the server does not answer by itself, only before and as it is sent."""
    return tuple(Moment) if message.kind in ("Q", "S", "F", "startup") else (Moment.BEFORE, Moment.SENT)


def choose(ground: str, seen: Iterable[Seen], number: int) -> tuple[Point, ...]:
    """That many points: those of COMMIT itself, then what must be among them, then the rest; all in a fixed disorder, so
    that the first hundreds are of every sort."""
    listed = list(seen)
    end = commit(listed)
    must = [*_at_commit(ground, listed), *_swallowed(ground, listed)]
    must += [*_near_commit(ground, listed), *_after_commit(ground, listed), *_kinds(ground, listed)]
    wanted = [point for point in must if (point.label, point.ordinal) == (end.label, end.ordinal)]
    wanted += [*sorted(must, key=_chance), *sorted(_spread(ground, listed), key=_chance)]
    return tuple({point.name: point for point in wanted}.values())[:number]


def both(small: Iterable[Seen], shipped: Iterable[Seen], number: int) -> tuple[Point, ...]:
    """Points of both grounds; the shipped chain's, which cost more, are a tenth, spread among the others."""
    share = int(number * SHIPPED_SHARE)
    mine, theirs = choose("small", small, number - share), choose("shipped", shipped, share)
    step = max(1, len(mine) // max(1, share))
    mixed = [point for at in range(0, len(mine), step) for point in (*theirs[at // step :][:1], *mine[at : at + step])]
    return tuple(dict.fromkeys((*mixed, *theirs)))


def shard(points: Iterable[Point], part: int, parts: int) -> tuple[Point, ...]:
    """The part of the points that is this machine's; the same ones whatever the census of another looks like."""
    return tuple(point for point in points if int(_chance(point) * parts) == part - 1)


def _at_commit(ground: str, seen: list[Seen]) -> Iterator[Point]:
    """Every moment and every fault at the last messages up to COMMIT."""
    end = commit(seen).ordinal
    for message in migration(seen):
        if end - AT_COMMIT < message.ordinal <= end:
            for moment, fault in product(moments(message), QUICK):
                yield _point(ground, message, moment, fault)


def _near_commit(ground: str, seen: list[Seen]) -> Iterator[Point]:
    """Every moment at each of the messages before those, killed and one fault more."""
    end = commit(seen).ordinal
    for message in migration(seen):
        if end - NEAR_COMMIT < message.ordinal <= end - AT_COMMIT:
            for moment in moments(message):
                yield _point(ground, message, moment, Fault.KILL)
                yield _point(ground, message, moment, _rotated(message, moment, 1))


def _after_commit(ground: str, seen: list[Seen]) -> Iterator[Point]:
    """Each message of every connection that comes after COMMIT, once."""
    for message in seen[seen.index(commit(seen)) + 1 :]:
        possible = moments(message)
        moment = possible[int(_draw(f"{message.label} {message.ordinal}") * len(possible))]
        yield _point(ground, message, moment, _rotated(message, moment, 0))


def _kinds(ground: str, seen: list[Seen]) -> Iterator[Point]:
    """Every kind of message on every connection, at every moment, with two faults."""
    for label, kind in dict.fromkeys((message.label, message.kind) for message in seen):
        same = [message for message in seen if (message.label, message.kind) == (label, kind)]
        for moment, turn in product(moments(same[0]), (0, 1)):
            message = same[int(_draw(f"{label} {kind} {moment} {turn}") * len(same))]
            yield _point(ground, message, moment, _rotated(message, moment, turn))


def _swallowed(ground: str, seen: list[Seen]) -> Iterator[Point]:
    """Silent drops, one on each road: they are slow."""
    end = commit(seen)
    yield _point(ground, end, Moment.BEFORE, Fault.DROP)
    yield _point(ground, end, Moment.ANSWERED, Fault.DROP)
    yield _point(ground, end, Moment.SENT, Fault.SILENCE)
    middle = [message for message in migration(seen) if message.kind == "Q"]
    yield _point(ground, middle[len(middle) // 2], Moment.BEFORE, Fault.DROP)
    for road in dict.fromkeys(message.label.partition("#")[0] for message in seen):
        asked = [message for message in seen if message.label.partition("#")[0] == road and message.kind == "Q"]
        if asked:
            yield _point(ground, asked[len(asked) // 2], Moment.BEFORE, Fault.DROP)
    confirming = [message for message in seen[seen.index(end) + 1 :] if message.kind == "Q"]
    yield _point(ground, confirming[0], Moment.BEFORE, Fault.DROP)


def _spread(ground: str, seen: list[Seen]) -> Iterator[Point]:
    """Every message at one moment, with one fault."""
    for message in seen:
        possible = moments(message)
        moment = possible[int(_draw(f"spread {message.label} {message.ordinal}") * len(possible))]
        yield _point(ground, message, moment, _rotated(message, moment, 2))


def _rotated(message: Seen, moment: Moment, turn: int) -> Fault:
    """One of the faults, by lot; two turns give two."""
    first = int(_draw(f"{message.label} {message.ordinal} {moment}") * len(QUICK))
    return QUICK[(first + turn) % len(QUICK)]


def _point(ground: str, message: Seen, moment: Moment, fault: Fault) -> Point:
    way = f"{ground} {message.label} {message.ordinal} {moment} {fault}"
    return Point(
        ground=ground,
        label=message.label,
        ordinal=message.ordinal,
        moment=moment,
        fault=fault,
        tcp=fault in OVER_TCP and _draw(way) < TCP_SHARE,
        about=f"{message.kind} {message.text}".strip(),
    )


def _chance(point: Point) -> float:
    return _draw(point.name)


def _draw(words: str) -> float:
    """From 0 to 1 by lot, the same one for the same words."""
    return int.from_bytes(hashlib.sha256(f"{SEED} {words}".encode()).digest()[:7]) / 2**56
