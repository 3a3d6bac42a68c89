"""The loop: a look every so often, whatever becomes of the server meanwhile, and at the end what there was to see."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lawsker_db.monitor.rules import Problem
from lawsker_db.monitor.sample import Rates, Sample


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
