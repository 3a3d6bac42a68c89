"""Reports that no run has made: any at all (hypothesis), and one with every part in which every text is the same."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from lawsker_db.evidence import RunReport

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def anything(kind: Any, texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Any value of a field's kind, with these texts in it."""
    origin, inner = get_origin(kind), get_args(kind)
    if NoneType in inner:
        return st.none() | anything(next(one for one in inner if one is not NoneType), texts)
    if origin is tuple:
        return st.lists(anything(inner[0], texts), max_size=3).map(tuple)
    if origin is not None:
        return st.dictionaries(texts, anything(inner[1], texts), max_size=3)
    if is_dataclass(kind):
        whole: Any = kind
        hints = get_type_hints(kind)
        made: st.SearchStrategy[Any] = st.builds(
            whole, **{field.name: anything(hints[field.name], texts) for field in fields(kind)}
        )
        return made
    if issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: texts,
        bool: st.booleans(),
        int: st.integers(0, 2**40),
        float: st.floats(0, 1e6),
        datetime: st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    }
    return plain[kind]


def everywhere(text: str) -> RunReport:
    """A report that has every part, with this for every text, and a check of each kind."""
    whole: RunReport = _filled(RunReport, text)
    check = whole.checks[0]
    failed = replace(check, ok=False, warning=False)
    warned, left_out = replace(check, ok=False, warning=True), replace(check, ok=None, warning=True)
    return replace(whole, checks=(failed, warned, left_out, check))


def _filled(kind: Any, text: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if NoneType in inner:
        return _filled(next(one for one in inner if one is not NoneType), text)
    if origin is tuple:
        return (_filled(inner[0], text), _filled(inner[0], text))
    if origin is not None:
        return {text: 1}
    if is_dataclass(kind):
        whole: Any = kind
        hints = get_type_hints(kind)
        return whole(**{field.name: _filled(hints[field.name], text) for field in fields(kind)})
    if issubclass(kind, Enum):
        return next(iter(kind))
    plain: dict[Any, Any] = {str: text, bool: True, int: 7, float: 1.5, datetime: NOON}
    return plain[kind]
