"""The commands. Each documents what it does to the database."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lawsker_db import __version__
from lawsker_db.cli.backups import backup_app
from lawsker_db.cli.completing import completion
from lawsker_db.cli.granting import grants
from lawsker_db.cli.monitoring import monitor
from lawsker_db.cli.options import Config, Direct, DryRun, Json, Runs, Url, Yes, ask, plain
from lawsker_db.cli.recovering import recover
from lawsker_db.cli.reporting import report
from lawsker_db.cli.rescuing import rescue
from lawsker_db.cli.restoring import drill, restore
from lawsker_db.cli.rolling import rollback
from lawsker_db.cli.upgrades import rehearse, safe_upgrade
from lawsker_db.cli.verifying import verify
from lawsker_db.phrases import Phrase

if TYPE_CHECKING:
    from lawsker_db.safety.standing import Standing

app = typer.Typer(
    name="lawsker-db",
    help="PostgreSQL migrations that are complete and proven, or leave the database as it was.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("safe-upgrade")(safe_upgrade)
app.command()(rehearse)
app.command()(rollback)
app.command()(verify)
app.command()(monitor)
app.command()(recover)
app.command()(restore)
app.command()(drill)
app.command()(rescue)
app.command()(report)
app.command()(grants)
app.command()(completion)
app.add_typer(backup_app, name="backup")


@app.command()
def doctor(
    database_url: Url = None, direct_url: Direct = None, runs: Runs = Path("lawsker-runs"), as_json: Json = False
) -> None:
    """Tell whether safe-upgrade could begin: server, rights, client programs, disk, what a dump would miss. Reads only."""
    from lawsker_db.cli.render import print_json, show_checks, tell, version_text
    from lawsker_db.evidence import failures
    from lawsker_db.safety.provisions import tools_found
    from lawsker_db.safety.upgrade import UpgradeOptions, look_ahead
    from lawsker_db.target import find_target

    target = find_target(database_url, direct_url)
    outlook = look_ahead(target, "head", UpgradeOptions(runs=runs), always=True)
    checks = (*tools_found(), *outlook.checks)
    failed = failures(checks)
    server = asdict(outlook.server)
    if as_json:
        listed = plain([asdict(check) for check in checks])
        print_json({"ready": not failed, "server": plain(server), "checks": listed})
        raise typer.Exit(10 if failed else 0)
    known = "{user} (session user {session_user}), {data_bytes:,} bytes, system identifier {system_identifier}"
    tell(f"Database: {target.label}, PostgreSQL {version_text(outlook.server.version)}")
    tell(f"Seen as:  {known.format(**server)}")
    show_checks(checks)
    tell(f"{'NOT READY' if failed else 'READY'}: {target.label}")
    hints = [check.detail or f"mend: {check.name}" for check in failed] or ["lawsker-db safe-upgrade"]
    for hint in dict.fromkeys(hints):
        tell(f"Next: {hint}")
    raise typer.Exit(10 if failed else 0)


@app.command()
def adopt(
    database_url: Url = None,
    direct_url: Direct = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Stamp a live Lawsker database that no chain has stamped as revision 012, after a look at it.

    Writes alembic_version and the history, nothing else.
    """
    from lawsker_db.cli.interrupts import settle
    from lawsker_db.cli.render import print_json, say, show_checks, tell
    from lawsker_db.safety.adoption import adopt as adopt_database
    from lawsker_db.safety.preflight import refuse_unless
    from lawsker_db.target import find_target

    target = find_target(database_url, direct_url)
    found = adopt_database(target, dry_run=True)
    settled = found.stamped_before == found.stamped_now and not found.checks
    if not as_json:
        show_checks(found.checks)
        for difference in found.differences:
            tell(Phrase("WARN     differs: {difference}", difference=difference))
        for extra in found.extras:
            say(Phrase("      extra, left alone: {extra}", extra=extra))
    refuse_unless(found.checks, what=Phrase("This is not a Lawsker database that can be adopted"))
    if not settled and not dry_run:
        if not yes:
            ask(Phrase("Stamp {label} as revision 012?", label=target.label))
        found = adopt_database(target)
        settle()
    if as_json:
        print_json(plain(asdict(found)))
    elif settled:
        tell(
            Phrase(
                "The database is at revision {revision} already; nothing was done.",
                revision=", ".join(found.stamped_now),
            )
        )
    elif dry_run:
        tell(Phrase("Can be adopted. Nothing was changed. Next: lawsker-db adopt"))
    else:
        tell(
            Phrase(
                "Adopted: stamped {revision}. Next: lawsker-db safe-upgrade",
                revision=", ".join(found.stamped_now),
            )
        )


@app.command()
def status(
    database_url: Url = None,
    direct_url: Direct = None,
    config: Config = None,
    run: Annotated[str | None, typer.Option("--run", help="Tell whether this run committed.")] = None,
    as_json: Json = False,
) -> None:
    """Tell where the database stands and what to type next. Reads only."""
    from lawsker_db.cli.render import print_json, tell
    from lawsker_db.safety.standing import look
    from lawsker_db.target import find_target

    target = find_target(database_url, direct_url)
    standing = look(target, config)
    committed = any(past.run_id == run for past in standing.history)
    if as_json:
        asked = {} if run is None else {"run": {"run_id": run, "committed": committed}}
        print_json(plain(asdict(standing) | asked))
        return
    tell(f"{standing.word.upper()}: {target.label}, PostgreSQL {standing.server.major}")
    tell(f"Revision: {', '.join(standing.current) or 'none'} (head {standing.head})")
    if standing.pending:
        tell(f"Pending: {', '.join(standing.pending)}")
    for past in standing.history[-5:]:
        place = "" if past.here else ", in a database that this one is a copy of"
        place = f", in what is now {past.undone}: undone here by a restore" if past.undone else place
        tell(
            f"{past.made_at:%Y-%m-%d %H:%M:%S} UTC  {past.direction:<9} to {', '.join(past.to_revisions) or 'base'}"
            f" by {past.by_user} via {past.via}{place}{'' if past.intact else '  (row altered since)'}"
        )
    if run is not None:
        undone = next((past.undone for past in standing.history if past.run_id == run), "")
        tell(f"Run {run}: {_became(standing, committed=committed)}{_replaced(undone)}")
    tell(f"Next: {standing.hint}")


def _became(standing: Standing, *, committed: bool) -> str:
    """Pure. What became of a run that was asked for."""
    if committed:
        return "committed"
    if standing.at_work:
        return f"not decided yet: a migration is at work here ({standing.at_work[0]}); ask again when it has ended"
    if standing.server.in_recovery:
        return "no marker row here; but this is a standby, which may be behind: ask the primary"
    return "no marker row, and nobody at work: it did not commit"


def _replaced(undone: str) -> str:
    """Pure. What to add about a run that a restore has undone."""
    return f", in what is now {undone}; this database was restored from a backup taken before it" if undone else ""


@app.command()
def demo(
    users: Annotated[int, typer.Option(help="Size of the sample.", min=1)] = 200,
    runs: Runs = Path("lawsker-runs"),
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server up until Enter is pressed.")] = False,
    as_json: Json = False,
) -> None:
    """Start a throwaway PostgreSQL, load the sample, adopt, safe-upgrade, verify, clean up.

    Touches no other database.
    """
    from lawsker_db.cli.demonstration import demonstrate

    demonstrate(users=users, runs=runs, keep=keep, as_json=as_json)


@app.command()
def config(as_json: Json = False) -> None:
    """Print where the shipped alembic.ini is: alembic -c "$(lawsker-db config)" current. Asks no database."""
    from lawsker_db.cli.render import print_json
    from lawsker_db.revisions import shipped_config

    path = str(shipped_config())
    if as_json:
        print_json({"config": path})
        return
    print(path)


@app.command()
def version(as_json: Json = False) -> None:
    """Print the versions of lawsker-db and of what it stands on."""
    import importlib.metadata

    names = ("alembic", "SQLAlchemy", "psycopg")
    versions = {"lawsker-db": __version__, "python": sys.version.split()[0]}
    versions |= {name: importlib.metadata.version(name) for name in names}
    if as_json:
        from lawsker_db.cli.render import print_json

        print_json(dict(versions))
        return
    for name, number in versions.items():
        print(f"{name} {number}")
