"""Go through many points, and keep what was found, so that a second go begins where the first one was cut short.

LAWSKER_FAULTS names a folder for the results (a JSON line a point), LAWSKER_SHARD, as 2/4, which part to take.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one fault led to. `wrong` is empty where all went as promised."""

    point: str
    code: int
    standing: str
    wrong: str
    seconds: float


def go_through(strikes: Mapping[str, Callable[[Path], Outcome]], folder: Path, name: str) -> tuple[dict[str, Any], ...]:
    """Strike at each point of this shard that the results do not have yet, in a folder of its own; all results of it."""
    results = Path(os.environ.get("LAWSKER_FAULTS", folder)) / name
    results.parent.mkdir(parents=True, exist_ok=True)
    known = noted(results)
    part, parts = map(int, os.environ.get("LAWSKER_SHARD", "1/1").split("/"))
    ours = list(strikes)[part - 1 :: parts]
    for number, point in enumerate(ours):
        if point not in known:
            known[point] = asdict(strikes[point](folder / f"point{number}"))
            with results.open("a") as file:
                file.write(f"{json.dumps(known[point])}\n")
    outcomes = tuple(known[point] for point in ours)
    sys.stdout.write(f"{name}: {summary(outcomes)}\n")  # -rP shows it
    return outcomes


def noted(path: Path) -> dict[str, dict[str, Any]]:
    """What a results file holds from earlier, by the point's name. A line that is torn is not there."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.endswith("}"):
            outcome = json.loads(line)
            found[str(outcome["point"])] = outcome
    return found


def summary(outcomes: tuple[dict[str, Any], ...]) -> str:
    """Pure. The figures of a suite in one line."""
    standings = Counter("mixed" if o["standing"].startswith("mixed") else o["standing"] for o in outcomes)
    codes = dict(sorted(Counter(o["code"] for o in outcomes).items()))
    wrong = sum(bool(o["wrong"]) for o in outcomes)
    each = sum(o["seconds"] for o in outcomes) / max(1, len(outcomes))
    return (
        f"{len(outcomes)} runs: {standings['old']} old, {standings['new']} new, {codes.get(12, 0)} in doubt,"
        f" {standings['mixed']} mixed, {wrong} broken promises, {each:.1f} s each; exit codes {codes}"
    )
