"""What the numbers of a look are called, in what unit they are said, and which of many stands for all of them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from lawsker_db.phrases import Phrase

MILLISECONDS_BELOW_S = 0.1
TENTHS_BELOW_S = 9.95
SECONDS_BELOW_S = 99.5
DAYS_FROM_H = 48


class Unit(StrEnum):
    """What a number counts."""

    SECONDS = "s"
    COUNT = "count"
    BYTES = "bytes"
    BYTES_PER_S = "bytes_per_s"
    PER_S = "per_s"
    SHARE = "share"


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureKind:
    """A number of `watching.figures_of`: its words, its unit, and how many looks become one point of a trend: by their
    mean, or, where an average would hide what somebody looks for, by the worst of them."""

    words: Phrase
    unit: Unit
    merged: Callable[[Sequence[float]], float] = fmean


KINDS: Mapping[str, FigureKind] = {
    "latency_s": FigureKind(words=Phrase("Answer of the server"), unit=Unit.SECONDS, merged=max),
    "sessions": FigureKind(words=Phrase("Sessions"), unit=Unit.COUNT, merged=max),
    "sessions_active": FigureKind(words=Phrase("Active sessions"), unit=Unit.COUNT, merged=max),
    "waiting": FigureKind(words=Phrase("Waiting for locks"), unit=Unit.COUNT, merged=max),
    "longest_transaction_s": FigureKind(words=Phrase("Longest transaction"), unit=Unit.SECONDS, merged=max),
    "transactions_per_s": FigureKind(words=Phrase("Transactions"), unit=Unit.PER_S),
    "wal_bytes_per_s": FigureKind(words=Phrase("WAL written"), unit=Unit.BYTES_PER_S),
    "cache_hits": FigureKind(words=Phrase("Found in shared buffers"), unit=Unit.SHARE, merged=min),
    "database_bytes": FigureKind(words=Phrase("Size of the database"), unit=Unit.BYTES, merged=max),
    "dead_rows": FigureKind(words=Phrase("Dead rows"), unit=Unit.COUNT, merged=max),
    "standby_lag_bytes": FigureKind(words=Phrase("Lag of standbys"), unit=Unit.BYTES, merged=max),
    "disk_free_bytes": FigureKind(words=Phrase("Free on disk"), unit=Unit.BYTES, merged=min),
}


def amount_text(name: str, amount: float) -> str:
    """Pure. A number as people read it, with its unit; the same in every language."""
    unit = KINDS[name].unit
    if unit is Unit.SECONDS:
        return seconds_text(amount)
    if unit is Unit.BYTES:
        return bytes_text(amount)
    if unit is Unit.BYTES_PER_S:
        return f"{bytes_text(amount)}/s"
    if unit is Unit.PER_S:
        return f"{amount:,.1f}/s"
    if unit is Unit.SHARE:
        return f"{amount:.1%}"
    return f"{amount:,.0f}" if amount.is_integer() else f"{amount:,.1f}"


def bytes_text(size: float) -> str:
    """Pure. Bytes in the largest decimal unit of which there is at least one."""
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(size) >= length:
            return f"{size / length:,.1f} {unit}"
    return f"{size:.0f} B"


def seconds_text(seconds: float) -> str:
    """Pure. A time as one reads it: 0.4 ms, 3.2 s, 48 s, 2:05 min, 1:04 h, 3.5 d."""
    if abs(seconds) < MILLISECONDS_BELOW_S:
        return f"{seconds * 1000:.1f} ms" if seconds else "0 s"
    if seconds < TENTHS_BELOW_S:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    if seconds < SECONDS_BELOW_S:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    if minutes < 60 * DAYS_FROM_H:
        return f"{minutes // 60}:{minutes % 60:02d} h"
    return f"{minutes / 60 / 24:.1f} d"
