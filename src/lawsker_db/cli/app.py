"""The commands. Each documents what it does to the database."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lawsker_db import __version__
from lawsker_db.cli.adopting import adopt
from lawsker_db.cli.backups import backup_app
from lawsker_db.cli.completing import completion
from lawsker_db.cli.doctoring import doctor
from lawsker_db.cli.granting import grants
from lawsker_db.cli.monitoring import monitor
from lawsker_db.cli.options import Json, Runs
from lawsker_db.cli.recovering import recover
from lawsker_db.cli.reporting import report
from lawsker_db.cli.rescuing import rescue
from lawsker_db.cli.restoring import drill, restore
from lawsker_db.cli.rolling import rollback
from lawsker_db.cli.standing import history, status
from lawsker_db.cli.upgrades import rehearse, safe_upgrade
from lawsker_db.cli.verifying import verify

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
app.command()(status)
app.command()(history)
app.command()(doctor)
app.command()(adopt)
app.add_typer(backup_app, name="backup")


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
