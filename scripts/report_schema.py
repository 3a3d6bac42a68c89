#!/usr/bin/env python3
"""Write the published schemas of reports, a run's and a watch's, from the values that they are made of:
`python scripts/report_schema.py`."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
import types
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lawsker_db import evidence
from lawsker_db.monitor.report import REPORT_VERSION as MONITORING_VERSION
from lawsker_db.monitor.report_page import MonitoringReport
from lawsker_db.record.document import REPORT_VERSION

SOURCE = Path(__file__).resolve().parents[1] / "src/lawsker_db"
FILE = SOURCE / "record/report_schema.json"
MONITOR_FILE = SOURCE / "monitor/report_schema.json"
PLAIN: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time"},
    object: {},
}
WORD = {
    "type": "object",
    "description": "An English sentence by its template, as Python's str.format has it, and the values of its fields.",
    "required": ["template", "values"],
    "properties": {
        "at": {"type": "string", "description": "JSON Pointer to the text that this spells."},
        "key": {"type": "string", "description": "JSON Pointer to the member whose name this spells."},
        "template": {"type": "string"},
        "clause": {"const": True, "description": "Without its full stop, within another sentence."},
        "values": {
            "type": "object",
            "additionalProperties": {
                "anyOf": [{"type": "string"}, {"type": "number"}, {"$ref": "#/$defs/Word"}],
            },
        },
    },
}


def schema() -> dict[str, Any]:
    """The schema, draft 2020-12. Its `$id` is a name, not an address: nobody fetches it."""
    defs: dict[str, Any] = {"Word": WORD}
    whole = _object(evidence.RunReport, defs)
    version = {
        "const": REPORT_VERSION,
        "description": "Raised when a field goes or changes its meaning; new ones do not, nor do new words in a list.",
    }
    words = {
        "type": "array",
        "items": {"$ref": "#/$defs/Word"},
        "description": "What the report's English texts are made of, so that it can be said in another language.",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:lawsker-db:report:{REPORT_VERSION}",
        "title": "report.json of lawsker-db",
        **whole,
        "required": ["report_version", *whole["required"], "words"],
        "properties": {"report_version": version, **whole["properties"], "words": words},
        "$defs": dict(sorted(defs.items())),
    }


def monitor_schema() -> dict[str, Any]:
    """The schema of what `lawsker-db monitor --out` writes."""
    defs: dict[str, Any] = {}
    whole = _object(MonitoringReport, defs)
    version = {
        "const": MONITORING_VERSION,
        "description": "Raised when a field goes or changes its meaning; new ones do not.",
    }
    made = {"monitoring_report_version": version, "tool_version": {"type": "string"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:lawsker-db:monitoring-report:{MONITORING_VERSION}",
        "title": "monitoring-report-*.json of lawsker-db",
        **whole,
        "required": [*made, *whole["required"]],
        "properties": {**made, **whole["properties"]},
        "$defs": dict(sorted(defs.items())),
    }


def _object(kind: Any, defs: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    return {
        "type": "object",
        "description": " ".join((inspect.getdoc(kind) or "").split()),
        "required": names,
        "properties": {name: _of(hints[name], defs) for name in names},
    }


def _of(kind: Any, defs: dict[str, Any]) -> dict[str, Any]:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of(next(one for one in inner if one is not types.NoneType), defs), {"type": "null"}]}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is tuple:
        return {"type": "array", "items": _of(inner[0], defs)}
    if origin is not None:
        return {"type": "object", "additionalProperties": _of(inner[1], defs)}
    if dataclasses.is_dataclass(kind):
        name = str(getattr(kind, "__name__", kind))
        if name not in defs:
            defs[name] = {}
            defs[name] = _object(kind, defs)
        return {"$ref": f"#/$defs/{name}"}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [str(member.value) for member in kind]}
    return PLAIN[kind]


def main() -> int:
    for file, found in ((FILE, schema()), (MONITOR_FILE, monitor_schema())):
        file.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
