"""`lawsker-db grants`: the rights that a migration role needs, as SQL for a superuser."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lawsker_db.cli.options import Config, Direct, Json, Url, plain, require_utf8
from lawsker_db.phrases import Phrase, said

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lawsker_db.safety.rights import Grant

RoleName = Annotated[str, typer.Option("--role", help="Role that migrates; it need not exist yet.", show_default=False)]


def grants(
    role: RoleName, database_url: Url = None, direct_url: Direct = None, config: Config = None, as_json: Json = False
) -> None:
    """Print the GRANTs that a role needs to adopt, upgrade, verify, back up and go back here: SQL for a superuser.

    What it has already is commented out. Reads only. lawsker-db grants --role NAME | psql
    """
    from lawsker_db.cli.render import print_json
    from lawsker_db.errors import UsageError
    from lawsker_db.revisions import load_chain, plan_upgrade
    from lawsker_db.safety.confirmation import reading
    from lawsker_db.safety.grants import required_rights
    from lawsker_db.target import find_target

    if not role or "\0" in role:
        raise UsageError(Phrase("--role names no role."), hint="lawsker-db grants --role NAME")
    require_utf8("--role", role)
    target = find_target(database_url, direct_url)
    contracts = plan_upgrade(load_chain(config), ()).contracts
    with reading(target) as conn:
        found = required_rights(conn, role, contracts)
    if as_json:
        listed = plain([asdict(grant) for grant in found])
        missing = [grant.statement for grant in found if not grant.there and grant.need == "needed"]
        print_json({"role": role, "complete": not missing, "missing": missing, "grants": listed})
        return
    for line in script(role, target.label, found):
        print(said(line))


def script(role: str, place: str, found: tuple[Grant, ...]) -> Iterator[str]:
    """Pure. The SQL, with the reason before each statement; what is there, or is only for some, as a comment."""
    from lawsker_db.record.markup import visible

    if not found:
        yield Phrase("-- {role} is a superuser: it needs nothing more. An ordinary role is safer.", role=visible(role))
        return
    missing = sum(not grant.there and grant.need == "needed" for grant in found)
    yield Phrase(
        "-- The rights that {role} needs in {place}, as seen by lawsker-db; {missing} are missing.",
        role=visible(role),
        place=visible(place),
        missing=missing,
    )
    yield Phrase("-- To be run by a superuser, in that database.")
    for grant in found:
        yield ""
        yield Phrase("-- {need}: {why}.", need=Phrase(grant.need.capitalize()), why=grant.why)
        if grant.there:
            yield Phrase("-- It is there: {statement};", statement=grant.statement)
            continue
        yield Phrase("-- Without it: {without}.", without=grant.without)
        yield f"{'-- ' if grant.need == 'on request' else ''}{grant.statement};"
