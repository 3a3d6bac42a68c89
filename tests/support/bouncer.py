"""A real PgBouncer before a throwaway server, for as long as a block lasts. Without the program: a failure, never a skip."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from command_line import eventually

from lawsker_db.demo import keeper
from lawsker_db.demo.server import ThrowawayServer, _way

MISSING = "these tests need PgBouncer: apt-get install pgbouncer (or another way to have it on PATH)"


def find_bouncer() -> str:
    """Where the program is; Debian keeps it in a folder that is not on everybody's PATH."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert found is not None, MISSING
    return found


@contextmanager
def bouncer(server: ThrowawayServer, mode: str, **settings: object) -> Iterator[str]:
    """PgBouncer in this mode, on a Unix socket and a port of the loopback; gives the way through its socket."""
    way = _way(server.binaries)  # it does not run as root either
    folder = Path(tempfile.mkdtemp(prefix="lkbouncer-", dir="/tmp"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lines = {"pool_mode": mode, "listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": folder}
    lines |= {"auth_type": "any", "logfile": folder / "log", **settings}
    written = "\n".join(f"{name} = {value}" for name, value in lines.items())
    upstream = f"* = host={server.folder} port={keeper.PORT} user={server.superuser}"
    (folder / "ini").write_text(f"[databases]\n{upstream}\n[pgbouncer]\n{written}\n")
    wrap = way.wrap
    if way.user is not None:
        shutil.chown(folder, *way.user)
        wrap = ("setpriv", f"--reuid={way.user[0]}", f"--regid={way.user[1]}", "--clear-groups")
    command = [*wrap, find_bouncer(), "--quiet", str(folder / "ini")]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        standing = folder / f".s.PGSQL.{port}"
        assert eventually(lambda: standing.exists() or child.poll() is not None), "PgBouncer does not start"
        assert child.poll() is None, (folder / "log").read_text()
        yield f"postgresql:///postgres?host={folder}&port={port}&user={server.superuser}"
    finally:
        child.terminate()
        child.wait()
        shutil.rmtree(folder, ignore_errors=True)
