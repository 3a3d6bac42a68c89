"""What the preflight does without a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lawsker_db.evidence import Server
from lawsker_db.safety import provisions


def test_a_runs_folder_below_one_that_may_not_be_searched_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a normal user meets it; root may search everything, so the refusal is played."""
    real_stat, real_access, closed = os.stat, os.access, tmp_path / "closed"
    closed.mkdir()

    def stat(path: Any, *given: Any, **named: Any) -> os.stat_result:
        if str(path).startswith(f"{closed}/"):
            raise PermissionError(13, "Permission denied", str(path))
        return real_stat(path, *given, **named)

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "access", lambda path, mode: path != closed and real_access(path, mode))
    server = Server(
        version=170000,
        database="lawsker",
        database_oid=1,
        user="clerk",
        session_user="clerk",
        superuser=False,
        in_recovery=False,
        encoding="UTF8",
        data_bytes=1,
        address="local socket",
        system_identifier="1",
    )
    check = provisions._disk_check(server, closed / "below" / "runs")
    assert check.fails
    assert check.found == f"{closed} is not writable"
    assert "--runs FOLDER" in check.detail
