"""What earlier runs foretell of the next one: how long its phases take, and how many bytes its backup has.

Reads the runs folder alone. An estimate is no promise and no check: what cannot be read foretells nothing.
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lawsker_db.errors import LawskerError
from lawsker_db.evidence import Direction, Phase, Proof, Server
from lawsker_db.postgres.session import UNKNOWN
from lawsker_db.record.document import JSON_REPORT, LARGEST
from lawsker_db.record.manifest import MANIFEST, Manifest, read_manifest
from lawsker_db.safety.pace import Pace
from lawsker_db.safety.shelf import BACKUP

LOOKED_AT = 50  # newest folders: of older runs nobody knows whether the database is still like that
WELL_ENDED = ("done", "rehearsed", "dry run")


def pace_of(
    phases: tuple[Phase, ...],
    runs: Path,
    server: Server,
    direction: Direction | None = None,
    steps: tuple[str, ...] = (),
) -> Pace:
    """The pace of a run on this database, by the newest runs of the same one: by the report of one in the same direction
    and over the same steps, and by the newest proven backup. Scaled by the size of the database then and now."""
    known = _by_report(runs, server, direction, steps) if direction else {}
    backup = _newest_backup(runs, server)
    if backup is None:
        pace = Pace(phases=phases, expected_s=known)
    else:
        grown = _grown(server.data_bytes, backup.server.get("data_bytes"))
        proof = {Phase.PROOF: _lasted(backup.proof) * grown} if backup.proof else {}
        known |= {Phase.BACKUP: backup.dump_s * grown, **proof}
        pace = Pace(phases=phases, expected_s=known, expected_bytes={Phase.BACKUP: int(backup.bytes * grown)})
    return replace(
        pace,
        expected_s={phase: round(seconds, 3) for phase, seconds in pace.expected_s.items()},
        expected_bytes={**pace.expected_bytes, Phase.PROOF: server.data_bytes},
    )


def pace_of_restore(phases: tuple[Phase, ...], manifest: Manifest, known: Pace | None = None) -> Pace:
    """Pure. The pace of what restores this very backup: its last trial restore is the best forecast there is."""
    pace = known or Pace(phases=phases)
    size = int(manifest.server["data_bytes"])
    for phase in {Phase.PROOF, Phase.RESTORE} & set(phases):
        pace = pace.knowing(phase, lasts_s=_lasted(manifest.proof) if manifest.proof else None, has_bytes=size)
    return pace


def _by_report(runs: Path, server: Server, direction: Direction, steps: tuple[str, ...]) -> dict[Phase, float]:
    """How long each phase took in the newest run of this kind that ended well; nothing when there is none."""
    for folder in _newest_folders(runs):
        report = _read_report(folder)
        try:
            same = report["direction"] == direction and tuple(report["steps"]) == steps
            if not same or report["verdict"] not in WELL_ENDED or not _is_of(report["server"], server):
                continue
            grown = _grown(server.data_bytes, report["server"].get("data_bytes"))
            found: dict[Phase, float] = {}
            for timing in report["timings"]:
                phase, lasted_s = Phase(timing["phase"]), float(timing["duration_s"])
                if not (math.isfinite(lasted_s) and lasted_s >= 0):
                    raise ValueError("a file may hold Infinity, NaN, and less than nothing")
                found[phase] = max(found.get(phase, 0.0), lasted_s * grown)
            return found
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            continue
    return {}


def _newest_backup(runs: Path, server: Server) -> Manifest | None:
    """What the newest backup of this database says of itself; one that is proven comes first."""
    found: list[Manifest] = []
    for folder in _newest_folders(runs):
        if not (folder / BACKUP / MANIFEST).is_file():
            continue
        with suppress(LawskerError, OSError):
            manifest = read_manifest(folder / BACKUP)
            if _is_of(manifest.server, server):
                found.append(manifest)
            if manifest.proof and found[-1:] == [manifest]:
                return manifest
    return found[0] if found else None


def _newest_folders(runs: Path) -> list[Path]:
    """The folders of runs, newest first: their names begin with their time."""
    try:
        folders = [path for path in runs.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []
    return sorted(folders, key=lambda path: path.name, reverse=True)[:LOOKED_AT]


def _read_report(folder: Path) -> dict[str, Any]:
    path = folder / JSON_REPORT
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
            return {}
        report = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return report if isinstance(report, dict) else {}


def _is_of(origin: Any, server: Server) -> bool:
    """Pure. Whether a report's or a manifest's server and database are this one."""
    here = asdict(server)
    names = ("database", "address" if server.system_identifier == UNKNOWN else "system_identifier")
    return all(origin.get(name) == here[name] for name in names)


def _grown(now_bytes: int, then_bytes: object) -> float:
    """Pure. How many times as large the database is; 1 when that is not known."""
    return now_bytes / then_bytes if isinstance(then_bytes, int) and then_bytes > 0 and now_bytes > 0 else 1.0


def _lasted(proof: Proof) -> float:
    """Pure. How long a trial restore took."""
    return proof.restore_s + proof.compare_s
