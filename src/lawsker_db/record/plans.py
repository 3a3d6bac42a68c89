"""plans.json in a run's folder: how queries on older tables were planned before the run, and how large tables were."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lawsker_db.postgres.plans import QueryPlan
from lawsker_db.record.journal import write_atomically

FORMAT = 1
PLANS = "plans.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSize:
    """A table with its indexes and TOAST on disk, and about how many rows it has."""

    bytes: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlansBefore:
    """What verification compares with after the run. `sizes` by the table's bare name."""

    plans: tuple[QueryPlan, ...] = ()
    sizes: Mapping[str, TableSize] = field(default_factory=dict)


def write_plans(folder: Path, before: PlansBefore) -> None:
    """Write plans.json into the run's folder, atomically, 0600. Raises `OSError` when the disk does not take it."""
    body = json.dumps({"format": FORMAT, **asdict(before)}, ensure_ascii=False, indent=1)
    write_atomically(folder / PLANS, body.encode())


def read_plans_of(folder: Path) -> PlansBefore | None:
    """What stands in plans.json, None when there is none of ours. Reads the file."""
    path = folder / PLANS
    if path.is_symlink() or not path.is_file():
        return None
    try:
        facts: dict[str, Any] = json.loads(path.read_bytes())
        if facts["format"] != FORMAT:
            return None
        plans = tuple(
            QueryPlan(
                query=str(plan["query"]),
                shape=tuple(str(line) for line in plan["shape"]),
                cost=float(plan["cost"]),
                problem=str(plan["problem"]),
            )
            for plan in facts["plans"]
        )
        sizes = {
            str(name): TableSize(bytes=int(size["bytes"]), rows=int(size["rows"]))
            for name, size in facts["sizes"].items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return PlansBefore(plans=plans, sizes=sizes)
