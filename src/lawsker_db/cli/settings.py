"""Which setting came from where: for the person whose command does not reach the database that was meant.

Passwords are never among the values: only that there is one, and where.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import pq

from lawsker_db.cli.language import ASKED_FIRST, OF_THE_LOCALE, OPTION, asked_language
from lawsker_db.phrases import Phrase
from lawsker_db.target import DATABASE_URL, DIRECT_URL, PG_VARIABLES, Target

PG_BIN = "LAWSKER_PG_BIN"
SERVICE_FILE, PASS_FILE = "PGSERVICEFILE", "passfile"
HIDDEN = "***"
SECRET_KINDS = (b"*", b"D")  # libpq's dispchar: passwords, and what only debuggers give (keys)
IN_LABEL = ("host", "port", "user", "dbname", "password")  # told in the line of the database
DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What stood on the command line."""

    database_url: str | None
    direct_url: str | None
    runs: Path
    words: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: its value without passwords, where it came from, and what overrides it, empty where nothing does."""

    name: str
    value: str
    source: str
    overridden_by: str = ""
    note: str = ""


def settings_found(typed: Typed, target: Target, environment: Mapping[str, str]) -> tuple[Setting, ...]:
    """Every setting that is set somewhere, and those of ours that are not. Reads the service file, looks at the pass file;
    asks no server."""
    url = "--database-url" if typed.database_url else DATABASE_URL if environment.get(DATABASE_URL, "").strip() else ""
    direct = _direct(typed, environment, url)
    named = direct if target.application is not None else url
    found = [Setting(name=Phrase("database"), value=target.label, source=named or _variables(environment))]
    if target.application is not None:
        found.append(Setting(name=Phrase("application's address"), value=target.application.label, source=url))
    if typed.database_url and environment.get(DATABASE_URL, "").strip():
        found.append(Setting(name=DATABASE_URL, value=HIDDEN, source=DATABASE_URL, overridden_by="--database-url"))
    found += _of_libpq(target, named, environment)
    found.append(_pass_file(target, named, environment))
    if environment.get(DIRECT_URL) and direct != DIRECT_URL:
        over = "--direct-url" if typed.direct_url else "--database-url"
        found.append(Setting(name=DIRECT_URL, value=HIDDEN, source=DIRECT_URL, overridden_by=over))
    elif direct != DIRECT_URL:
        found.append(Setting(name=DIRECT_URL, value="", source="", note=Phrase("not set")))
    return (*found, _programs(environment), _language(typed.words, environment), _runs(typed.runs))


def _direct(typed: Typed, environment: Mapping[str, str], url: str) -> str:
    """Pure. Where the direct address came from, as `find_target` has it; empty where there is none."""
    if typed.direct_url:
        return "--direct-url"
    same = url != "--database-url" or typed.database_url == environment.get(DATABASE_URL, "")
    return DIRECT_URL if environment.get(DIRECT_URL, "").strip() and same else ""


def _variables(environment: Mapping[str, str]) -> str:
    """Pure. Those PG* variables that name the database."""
    return ", ".join(name for name in PG_VARIABLES if environment.get(name))


def _of_libpq(target: Target, named: str, environment: Mapping[str, str]) -> Iterator[Setting]:
    """Each parameter of the connection that is set somewhere: the URL counts first, then the service, then a variable."""
    name = target.parameters.get("service") or environment.get("PGSERVICE", "")
    service = _service(name, environment) if name else {}
    of_service = f"service {name}"
    for option in pq.Conninfo.get_defaults():
        keyword, variable = option.keyword.decode(), (option.envvar or b"").decode()
        places = [(named, target.parameters.get(keyword)), (of_service, service.get(keyword))]
        places.append((variable, environment.get(variable) if variable else None))
        winner = ""
        for source, value in places:
            if not value:
                continue
            shown = HIDDEN if option.dispchar in SECRET_KINDS else value
            if winner or source != named or keyword not in IN_LABEL:
                yield Setting(name=keyword, value=shown, source=source, overridden_by=winner)
            winner = winner or source
    if target.parameters.get("password"):
        yield Setting(name="password", value=HIDDEN, source=named)


def _service(name: str, environment: Mapping[str, str]) -> Mapping[str, str]:
    """What the service file says under this name, as libpq reads it: nothing where there is none. Reads the file."""
    default = Path(environment.get("HOME", "/")) / ".pg_service.conf"
    try:
        lines = Path(environment.get(SERVICE_FILE) or default).read_text(errors="replace").splitlines()
    except OSError:
        return {}
    found: dict[str, str] = {}
    inside = False
    for line in map(str.strip, lines):
        if line.startswith("["):
            inside = line == f"[{name}]"
        elif inside and not line.startswith("#") and "=" in line:
            keyword, _, value = line.partition("=")
            found.setdefault(keyword.strip(), value.strip())
    return found


def _pass_file(target: Target, named: str, environment: Mapping[str, str]) -> Setting:
    """The file of passwords, which libpq passes over without a word when others may read it. Looks at its mode."""
    given = target.parameters.get(PASS_FILE) or environment.get("PGPASSFILE")
    path = Path(given or Path(environment.get("HOME", "/")) / ".pgpass")
    note = Phrase("there")
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            note = Phrase("IGNORED: others may read it; chmod 600 {path}", path=str(path))
    except OSError:
        note = Phrase("not there")
    source = named if target.parameters.get(PASS_FILE) else "PGPASSFILE" if given else DEFAULT
    return Setting(name=Phrase("pass file"), value=str(path), source=source, note=note)


def _programs(environment: Mapping[str, str]) -> Setting:
    chosen = environment.get(PG_BIN, "")
    note = Phrase("looked for nowhere else") if chosen else Phrase("not set: distributions' folders, then PATH")
    return Setting(name=PG_BIN, value=chosen, source=PG_BIN if chosen else "", note=note)


def _language(words: Sequence[str], environment: Mapping[str, str]) -> Setting:
    """Pure. The language, and what it was chosen by."""
    locale = next((name for name in OF_THE_LOCALE if environment.get(name)), "")
    chosen = asked_language(words, environment)
    source = locale or DEFAULT
    if asked_language([], {ASKED_FIRST: environment.get(ASKED_FIRST, ""), "LANG": "zh"}) == asked_language(
        [], {ASKED_FIRST: environment.get(ASKED_FIRST, ""), "LANG": "en"}
    ):
        source = ASKED_FIRST  # whatever the locale says
    if any(word == OPTION or word.startswith(f"{OPTION}=") for word in words):
        source = OPTION
    return Setting(name=Phrase("language"), value=chosen, source=source)


def _runs(runs: Path) -> Setting:
    note = Phrase("there") if runs.is_dir() else Phrase("not there yet")
    default = runs == Path("lawsker-runs")
    return Setting(
        name=Phrase("runs folder"), value=str(runs.absolute()), source=DEFAULT if default else "--runs", note=note
    )
