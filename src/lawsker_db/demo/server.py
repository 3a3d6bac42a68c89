"""A PostgreSQL server of our own, for as long as a block lasts: for `make demo`, tests and benchmarks."""

from __future__ import annotations

import errno
import json
import os
import pwd
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

import lawsker_db
from lawsker_db import processes
from lawsker_db.demo import keeper
from lawsker_db.demo.binaries import Binaries, find_binaries
from lawsker_db.errors import Refused
from lawsker_db.phrases import Phrase

# What differs from PostgreSQL's own defaults. Nothing here is for data that anyone wants to keep.
DEFAULT_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": "",  # Unix socket only
        "unix_socket_permissions": "0700",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "shared_buffers": "64MB",
        "max_connections": "60",
        "max_prepared_transactions": "10",  # one of the things that tools must survive
        "dynamic_shared_memory_type": "mmap",  # in the data folder: Docker's /dev/shm has 64 MB, and leaks
        "jit": "off",  # small queries: compiling them costs more than running them
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
)
INNER_ID = 1000  # any id but 0: postgres refuses to run as root, and only looks at the id inside the namespace
STOP_TIME_S = keeper.FAST_STOP_S + keeper.IMMEDIATE_STOP_S + 14.0  # and up to 5 s to remove the folder


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrowawayServer:
    """A running server: its programs, its folder (socket, log, data) and the postmaster's pid."""

    binaries: Binaries
    folder: Path
    pid: int
    superuser: str

    @property
    def data_folder(self) -> Path:
        """Pure."""
        return self.folder / "data"

    def url(self, database: str = "postgres") -> str:
        """Pure. The postgresql:// URL of one database, through the Unix socket, as superuser."""
        name, user = quote(database, safe=""), quote(self.superuser, safe="")
        return f"postgresql:///{name}?host={quote(str(self.folder))}&port={keeper.PORT}&user={user}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How the server's programs are run: behind which command, as whom, from a copy or where they lie."""

    wrap: tuple[str, ...] = ()
    user: tuple[int, int] | None = None
    copy_tree: bool = False


@contextmanager
def without_postgres_variables() -> Iterator[None]:
    """Take PGHOST, PGOPTIONS, PGSERVICE … out of this process's environment for the block: they mean another server."""
    taken = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PG")}
    try:
        yield
    finally:
        os.environ.update(taken)


@contextmanager
def throwaway_server(
    binaries: Binaries | None = None,
    *,
    settings: Mapping[str, str] = MappingProxyType({}),
    superuser: str = "postgres",
) -> Iterator[ThrowawayServer]:
    """Run a new, empty server for the block; after it, or when this process dies, stop and remove it.

    `settings` go over `DEFAULT_SETTINGS`. Works as root too: in a user namespace, else as the user nobody.
    """
    programs = find_binaries() if binaries is None else binaries
    way = _way(programs)
    order = keeper.Order(
        binaries=str(programs.folder.absolute()),
        wrap=way.wrap,
        user=way.user,
        copy_tree=way.copy_tree,
        superuser=superuser,
        settings={**DEFAULT_SETTINGS, **settings},
    )
    with _kept(order) as (folder, pid):
        yield ThrowawayServer(binaries=programs, folder=folder, pid=pid, superuser=superuser)


@contextmanager
def _kept(order: keeper.Order) -> Iterator[tuple[Path, int]]:
    """Start a keeper and wait until its server is ready; yield the server's folder and pid."""
    with processes.started(
        (sys.executable, "-m", keeper.__name__, order.to_json()),
        env=_keeper_environment(),
        stdin=processes.PIPE,
        new_session=True,
        dies_with_parent=False,  # it must live long enough to stop the server; the pipe tells it
        grace_s=STOP_TIME_S,
    ) as child:
        assert child.stdout is not None  # noqa: S101 (for mypy: both are pipes)
        assert child.stderr is not None  # noqa: S101
        answer = json.loads(child.stdout.readline() or b"{}")
        if "pid" not in answer:
            if "failure" in answer:
                why: str = Phrase(answer["failure"], **answer["values"])
            else:
                why = child.stderr.read().decode(errors="replace").strip()
            raise Refused(
                Phrase("The throwaway server did not start: {why}", why=why),
                hint=Phrase("mend what the lines above name, or let LAWSKER_PG_BIN name other server programs"),
            )
        folder, pid = Path(answer["folder"]), int(answer["pid"])
        try:
            yield folder, pid
        finally:
            if child.poll() is not None:  # the keeper itself was killed: do its last work here
                keeper.end_server(pid, folder)
                keeper.remove(folder)


def _keeper_environment() -> dict[str, str]:
    """Return an environment in which the keeper finds this very package."""
    root = Path(lawsker_db.__file__).resolve().parents[1]
    if root.name in ("site-packages", "dist-packages"):
        return dict(os.environ)
    return {**os.environ, "PYTHONPATH": str(root)}


def _way(binaries: Binaries) -> _Way:
    """Find out how the server's programs can be run without being root."""
    if os.geteuid() != 0:
        return _Way()
    postgres = (str(binaries.folder / "postgres"), "--version")
    unshare = shutil.which("unshare")
    if unshare is not None:
        wrap = (unshare, "--user", f"--map-user={INNER_ID}", f"--map-group={INNER_ID}")
        if processes.run((*wrap, *postgres)).exit_code == 0:
            return _Way(wrap=wrap)
    return _way_as_nobody(postgres)


def _way_as_nobody(postgres: tuple[str, ...]) -> _Way:
    """Find out whether the programs can be run as the user nobody: where they lie, or from a copy."""
    nobody = pwd.getpwnam("nobody")
    user = (nobody.pw_uid, nobody.pw_gid)
    try:
        readable = processes.run(postgres, user=user).exit_code == 0
    except PermissionError as failure:
        if failure.errno == errno.EPERM:  # setuid itself; a file that may not be run is EACCES
            raise Refused(
                Phrase(
                    "PostgreSQL does not run as root, and this root may neither make a user namespace nor become "
                    "another user."
                ),
                hint=Phrase("run the command as a normal user"),
            ) from failure
        readable = False
    return _Way(user=user, copy_tree=not readable)
