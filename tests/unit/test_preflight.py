"""What the preflight does without a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lawsker_db.evidence import Server
from lawsker_db.safety import preflight, provisions


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


# local, encrypted, Kerberos, sslmode, channel binding; whether it is well
WAYS = (
    (True, False, False, "prefer", "prefer", True),
    (False, False, False, "prefer", "prefer", False),
    (False, False, False, "verify-full", "require", False),  # as asked for, not as it is
    (False, True, False, "prefer", "prefer", False),
    (False, True, False, "require", "prefer", False),
    (False, True, False, "verify-ca", "prefer", False),
    (False, True, False, "verify-full", "prefer", True),
    (False, True, False, "require", "require", True),
    (False, False, True, "prefer", "prefer", True),
)


@pytest.mark.parametrize(("local", "encrypted", "kerberos", "mode", "binding", "well"), WAYS)
def test_a_way_on_which_others_could_read_along_or_play_the_server_is_warned_of(
    local: bool, encrypted: bool, kerberos: bool, mode: str, binding: str, well: bool
) -> None:
    check = preflight.way_found(local=local, encrypted=encrypted, kerberos=kerberos, mode=mode, binding=binding)
    assert check.ok is well
    assert check.warning
    assert not check.fails
    assert ("sslmode=verify-full" in check.detail) is not well
