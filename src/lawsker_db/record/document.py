"""report.json: a report as JSON, in English for machines, with the words that another language is made of, and back again.

`report_schema.json` beside this module is its published schema. `words` lists each text that is a phrase, by its place (a
JSON Pointer, RFC 6901), with template and values: so a report can be said in a language that nobody spoke when it was made.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from lawsker_db.errors import Refused
from lawsker_db.evidence import RunReport
from lawsker_db.phrases import Phrase, from_spelt, spelt
from lawsker_db.record.journal import as_json

REPORT_VERSION = 2
OLDER_VERSIONS = (1,)  # without words, and without what was not told then
JSON_REPORT = "report.json"
LARGEST = 64 << 20  # bytes; the report of a chain with 300 tables has 2 MB
WIDEST = 2**63  # no number of ours is larger: bytes and rows


def as_document(report: RunReport) -> dict[str, Any]:
    """Pure. The report as JSON values."""
    whole = asdict(report)
    return {"report_version": REPORT_VERSION, **as_json(whole), "words": list(_words(whole, ""))}


def as_bytes(report: RunReport) -> bytes:
    """Pure. The report as the file has it. What UTF-8 cannot hold (names of files) becomes JSON's own escapes."""
    return json.dumps(as_document(report), ensure_ascii=False, indent=2).encode(errors="backslashreplace")


def read_report(folder: Path) -> RunReport:
    """The report of the run in a folder. Reads report.json. Raises `Refused` when there is none that can be read."""
    path = folder / JSON_REPORT
    try:
        if path.is_symlink() or not path.is_file():
            raise ValueError(Phrase("there is no such file"))
        if path.stat().st_size > LARGEST:
            raise ValueError(Phrase("it has more than {limit} MB", limit=LARGEST >> 20))
        return from_document(json.loads(path.read_bytes(), parse_constant=_refuse_constant))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as wrong:
        raise Refused(
            Phrase("{path} cannot be read as a report: {why}.", path=str(path), why=_why(wrong)),
            hint=Phrase("{first}, then {second}", first="lawsker-db recover", second="lawsker-db status"),
            state=Phrase("This command asked no database and changed nothing."),
        ) from wrong


def from_document(document: Any) -> RunReport:
    """Pure. The report that a document is of; fields that it lacks, because it is older, have their defaults.

    Raises `ValueError`, `LookupError`, `TypeError` or `AttributeError` for what is no report of ours.
    """
    version = document["report_version"]
    if version not in (REPORT_VERSION, *OLDER_VERSIONS):
        known = Phrase(
            "its version is {version}, and this lawsker-db reads versions 1 to {newest}; a newer one reads it",
            version=repr(version),
            newest=REPORT_VERSION,
        )
        raise ValueError(known)
    body = {key: value for key, value in document.items() if key not in ("report_version", "words")}
    for entry in document.get("words", ()):
        body = _worded(body, entry)
    report: RunReport = _decoded(RunReport, body, "")
    return report


def _words(value: object, at: str) -> Iterator[dict[str, object]]:
    """Pure. Every phrase in a value: where it stands, and what it is made of."""
    if isinstance(value, Phrase):
        yield {"at": at, **spelt(value)}
    elif isinstance(value, Mapping):
        for key, item in value.items():
            place = f"{at}/{_escaped(key)}"
            if isinstance(key, Phrase):
                yield {"key": place, **spelt(key)}
            yield from _words(item, place)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _words(item, f"{at}/{number}")


def _escaped(key: str) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")


def _worded(body: Any, entry: Mapping[str, Any]) -> Any:
    """Pure but for `body`, which is ours: the text at the entry's place is the phrase that the entry spells."""
    phrase = from_spelt(entry)
    pointer = str(entry["key"] if "key" in entry else entry["at"])
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    place = body
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place[part]
    where: Any = int(last) if isinstance(place, list) else last
    if (where if "key" in entry else place[where]) != phrase:
        raise ValueError(Phrase("its words do not spell what stands at {place}", place=pointer))
    if "key" in entry:
        _rename(place, where, phrase)
    else:
        place[where] = phrase
    return body


def _rename(mapping: dict[str, Any], key: str, phrase: Phrase) -> None:
    """Put the phrase in the place of the key that it is equal to; the order stays."""
    listed = [(phrase if name == key else name, value) for name, value in mapping.items()]
    mapping.clear()
    mapping.update(listed)


def _decoded(kind: Any, value: Any, at: str) -> Any:
    """Pure. A JSON value as the kind that a field has. Raises `TypeError` or `ValueError` that names the place."""
    if is_dataclass(kind):
        return _object(kind, value, at)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else _decoded(next(one for one in inner if one is not types.NoneType), value, at)
    if origin is tuple:
        _require(isinstance(value, list), at)
        return tuple(_decoded(inner[0], item, f"{at}/{number}") for number, item in enumerate(value))
    if origin is not None:  # a mapping
        _require(isinstance(value, dict), at)
        return {key: _decoded(inner[1], item, f"{at}/{_escaped(key)}") for key, item in value.items()}
    return _scalar(kind, value, at)


def _object(kind: Any, value: Any, at: str) -> Any:
    _require(isinstance(value, dict), at)
    hints = get_type_hints(kind)
    found = {}
    for field in fields(kind):
        if field.name in value:
            found[field.name] = _decoded(hints[field.name], value[field.name], f"{at}/{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            place = f"{at}/{field.name}"
            raise ValueError(Phrase("it lacks {name}", name=place))
    return kind(**found)


def _scalar(kind: Any, value: Any, at: str) -> Any:
    if kind is float:
        _require(isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value), at)
        return float(value)
    if kind is int:
        _require(isinstance(value, int) and not isinstance(value, bool) and abs(value) < WIDEST, at)
        return value
    if kind is bool:
        _require(isinstance(value, bool), at)
        return value
    _require(isinstance(value, str), at)
    if kind is datetime:
        time = datetime.fromisoformat(value)
        _require(time.tzinfo is not None, at)
        return time
    return kind(value) if issubclass(kind, Enum) else value


def _require(right: bool, at: str) -> None:
    if not right:
        raise TypeError(Phrase("what stands at {place} is of the wrong kind", place=at or "/"))


def _refuse_constant(word: str) -> None:
    raise ValueError(Phrase("{word} is no number", word=word))


def _why(wrong: Exception) -> str:
    """Pure. What is wrong with a file, in words."""
    said = wrong.args[0] if wrong.args else ""
    if isinstance(said, Phrase):
        return said
    if isinstance(wrong, LookupError):
        return Phrase("it lacks {name}", name=str(said))
    if isinstance(wrong, OSError):
        return wrong.strerror or str(wrong)
    if isinstance(wrong, RecursionError):
        return Phrase("it is nested too deeply")
    return Phrase("it is no JSON of ours, or ends too early ({said})", said=str(wrong))
