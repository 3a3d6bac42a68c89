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
def bouncer(server: ThrowawayServer, mode: str, *, processes: int = 1, **settings: object) -> Iterator[str]:
    """PgBouncer in this mode on a port of the loopback, several processes of it at one port if need be; gives the way."""
    way = _way(server.binaries)  # it does not run as root either
    folder = Path(tempfile.mkdtemp(prefix="lkbouncer-", dir="/tmp"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lines = {"pool_mode": mode, "listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": ""}
    lines |= {"auth_type": "any", "logfile": folder / "log", "so_reuseport": int(processes > 1), **settings}
    written = "\n".join(f"{name} = {value}" for name, value in lines.items())
    upstream = f"* = host={server.folder} port={keeper.PORT} user={server.superuser}"
    (folder / "ini").write_text(f"[databases]\n{upstream}\n[pgbouncer]\n{written}\n")
    wrap = way.wrap
    if way.user is not None:
        shutil.chown(folder, *way.user)
        wrap = ("setpriv", f"--reuid={way.user[0]}", f"--regid={way.user[1]}", "--clear-groups")
    command = [*wrap, find_bouncer(), str(folder / "ini")]
    children = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(processes)
    ]

    def listening() -> bool:
        ended = any(child.poll() is not None for child in children)
        return ended or ((folder / "log").exists() and (folder / "log").read_text().count("listening on") == processes)

    try:
        assert eventually(listening), "PgBouncer does not start"
        assert all(child.poll() is None for child in children), (folder / "log").read_text()
        yield f"postgresql://{server.superuser}@127.0.0.1:{port}/postgres"
    finally:
        for child in children:
            child.terminate()
            child.wait()
        shutil.rmtree(folder, ignore_errors=True)
