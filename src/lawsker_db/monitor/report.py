"""The report of a watch: JSON for machines (`report_schema.json` is its published schema), one HTML page for people."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lawsker_db import __version__
from lawsker_db.monitor.report_page import MonitoringReport, render_page
from lawsker_db.phrases import spoken
from lawsker_db.record.journal import PRIVATE_FOLDER, as_json, write_atomically

REPORT_VERSION = 1
JSON, HTML = ".json", ".html"


def prepare_report(out: Path) -> tuple[tuple[Path, ...], str]:
    """The files that a report will be: one where a file is named, else two in a folder, which is made. And what went wrong,
    empty when nothing did: so it is known before a long watch, and not after it."""
    stem = f"monitoring-report-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    one_file = out.suffix in (JSON, HTML) and not out.is_dir()
    paths = (out,) if one_file else tuple(out / f"{stem}{suffix}" for suffix in (JSON, HTML))
    folder = paths[0].parent
    try:
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    except (OSError, ValueError) as failed:
        return paths, _why(failed)
    return paths, ""


def write_report(report: MonitoringReport, paths: tuple[Path, ...]) -> tuple[tuple[Path, ...], str]:
    """Write each of these files, whole or not at all, 0600; the page in the language of this process. Those that were
    written, and what went wrong, empty when nothing did: a report that cannot be written changes nothing else."""
    written: list[Path] = []
    try:
        for path in paths:
            page = path.suffix == HTML
            content = render_page(report, spoken(), __version__).encode() if page else as_bytes(report)
            write_atomically(path, content)
            written.append(path)
    except (OSError, ValueError) as failed:
        return tuple(written), _why(failed)
    return tuple(written), ""


def as_document(report: MonitoringReport) -> dict[str, Any]:
    """Pure. The report as JSON values: English, times in ISO 8601, units in the names."""
    document: dict[str, Any] = as_json(asdict(report))
    return {"monitoring_report_version": REPORT_VERSION, "tool_version": __version__, **document}


def as_bytes(report: MonitoringReport) -> bytes:
    """Pure. The report as the file has it. What UTF-8 cannot hold becomes JSON's own escapes."""
    return json.dumps(as_document(report), ensure_ascii=False, indent=1).encode(errors="backslashreplace")


def _why(failed: Exception) -> str:
    name = getattr(failed, "filename", None)
    said = getattr(failed, "strerror", None) or str(failed)
    return f"{name}: {said}" if name else said
