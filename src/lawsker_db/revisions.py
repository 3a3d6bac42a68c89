"""The only door to Alembic: load a chain, plan, read contracts, run upgrade and downgrade on our connection."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from lawsker_db.contract import Contract
from lawsker_db.drift import COMPARISON, in_words
from lawsker_db.errors import Refused, RevisionFailed
from lawsker_db.evidence import Check, Direction
from lawsker_db.hazards import find_hazards
from lawsker_db.phrases import Phrase, first_of
from lawsker_db.postgres.session import quoted

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import Script, ScriptDirectory

SHOWN = 5  # revisions in an error: the newest
RELATIVE = re.compile(r"[+-]\d+")
OTHER_CHAIN = Phrase("name the chain that has this revision: lawsker-db status --config FILE")
STRANGE = Phrase(
    "name the chain that has it: lawsker-db status --config FILE; if there is none any more, forget it: "
    "DELETE FROM alembic_version, then lawsker-db adopt --dry-run"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A folder of revisions and how Alembic is configured for it."""

    config: Config
    scripts: ScriptDirectory
    head: str

    def knows(self, revisions: tuple[str, ...]) -> bool:
        """Whether it has all these revisions. Reads revision files."""
        return set(revisions) <= {script.revision for script in self.scripts.walk_revisions()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One revision to run. `hazards` are sentences about what the guarded transaction cannot carry."""

    revision: str
    title: str
    path: str
    contract: Contract | None
    hazards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run will do, in order."""

    direction: Direction
    start: tuple[str, ...]
    goal: tuple[str, ...]
    steps: tuple[Step, ...]

    @property
    def contracts(self) -> tuple[Contract, ...]:
        """Pure. The contracts of the steps, as far as they have one."""
        return tuple(step.contract for step in self.steps if step.contract is not None)


def load_chain(config_file: Path | None = None, options: Mapping[str, str] | None = None) -> Chain:
    """Read alembic.ini and the revisions; no database. Without a file, the chain that this package ships.

    Raises `Refused` when it cannot be read or has more than one head.
    """
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    path = config_file or shipped_config()
    if not path.is_file():
        raise Refused(
            Phrase("There is no Alembic configuration at {path}.", path=str(path)),
            hint=Phrase("name it: --config path/to/alembic.ini"),
        )
    config = Config(str(path))
    config.attributes["options"] = dict(options or {})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an ini without path_separator, a revision that is missing: refused below
            scripts = ScriptDirectory.from_config(config)
            heads = scripts.get_heads()
    except Exception as failed:  # revision files are foreign code, which may raise anything while it is read
        kind = "" if isinstance(failed, CommandError) else f"{type(failed).__name__}: "
        raise Refused(
            Phrase(
                "The revisions of {path} cannot be read: {kind}{failed}", path=str(path), kind=kind, failed=str(failed)
            ),
            hint=Phrase("mend the revision files"),
        ) from failed
    if len(heads) != 1:
        raise Refused(
            Phrase(
                "The chain has {number} heads: {heads}.",
                number=len(heads),
                heads=", ".join(heads) or Phrase("no revision at all"),
            ),
            hint=Phrase("merge them into one (alembic merge heads), or name the configuration of the right chain"),
        )
    return Chain(config=config, scripts=scripts, head=heads[0])


def shipped_config() -> Path:
    """Pure. The alembic.ini of this package: inside it when installed, at the top of a checkout otherwise."""
    inside = Path(__file__).parent / "alembic.ini"
    return inside if inside.is_file() else Path(__file__).parents[2] / "alembic.ini"


def current_revisions(conn: Connection) -> tuple[str, ...]:
    """What alembic_version says, empty when there is no such table. Reads only. Raises `Refused` without SELECT on it."""
    stands, may, user = conn.execute(
        text("SELECT r, has_table_privilege(r, 'SELECT'), current_user FROM to_regclass('alembic_version') AS r")
    ).one()
    if stands is None:
        return ()
    if not may:
        raise Refused(
            Phrase("{user} may not read alembic_version.", user=user),
            hint=f"GRANT SELECT ON {stands} TO {quoted(user)}",
        )
    return tuple(str(row[0]) for row in conn.execute(text("SELECT version_num FROM alembic_version ORDER BY 1")))


def plan_upgrade(chain: Chain, current: tuple[str, ...], revision: str = "head") -> Plan:
    """Pure but for reading revision files. The steps from `current` up to `revision`; none when it is there already.

    Raises `Refused` for a revision that the chain does not know, or that does not lie above `current`.
    """
    require_known(chain, current)
    goal = _resolve(chain, revision, current)
    if goal == "base":
        raise Refused(
            Phrase("base lies below every revision, so there is nothing to upgrade to."),
            hint=Phrase("to go back: lawsker-db rollback base"),
        )
    if current and goal in _ancestors(chain, current) and goal not in current:
        raise Refused(
            Phrase(
                "Revision {goal} lies below the database's revision {current}.", goal=goal, current=", ".join(current)
            ),
            hint=Phrase("to go back: lawsker-db rollback {goal}", goal=goal),
        )
    passed = _ancestors(chain, current)
    scripts = [script for script in chain.scripts.iterate_revisions(goal, "base") if script.revision not in passed]
    steps = tuple(_step(script) for script in reversed(scripts))
    return Plan(direction=Direction.UPGRADE, start=current, goal=(goal,), steps=steps)


def plan_newest(chain: Chain) -> Plan:
    """Pure but for reading revision files. The step to the head alone, for a look where the stamp cannot be read."""
    newest = chain.scripts.get_revision(chain.head)
    return Plan(direction=Direction.UPGRADE, start=(), goal=(chain.head,), steps=(_step(newest),))


def plan_downgrade(chain: Chain, current: tuple[str, ...], revision: str) -> Plan:
    """Pure but for reading revision files. The steps from `current` down to `revision` ("base" for nothing)."""
    require_known(chain, current)
    found = _resolve(chain, revision, current)
    if found == "base":
        kept: frozenset[str] = frozenset()
        goal: tuple[str, ...] = ()
    else:
        goal = (found,)
        kept = _ancestors(chain, goal)
        if goal[0] not in _ancestors(chain, current):
            raise Refused(
                Phrase(
                    "Revision {goal} does not lie below the database's revision {current}.",
                    goal=goal[0],
                    current=", ".join(current) or Phrase("base"),
                ),
                hint=Phrase("lawsker-db status shows where the database stands"),
            )
    steps = [
        _step(script)
        for script in chain.scripts.iterate_revisions(current or ("base",), "base")
        if script.revision not in kept
    ]
    return Plan(direction=Direction.DOWNGRADE, start=current, goal=goal, steps=tuple(steps))


def direction_to(chain: Chain, current: tuple[str, ...], revision: str) -> Direction:
    """Pure but for reading revision files. Which way a revision lies from the current ones."""
    require_known(chain, current)
    goal = _resolve(chain, revision, current)
    below = goal == "base" or (goal in _ancestors(chain, current) and goal not in current)
    return Direction.DOWNGRADE if below else Direction.UPGRADE


def plan_stamp(chain: Chain, current: tuple[str, ...], revision: str) -> Plan:
    """Pure but for reading revision files. A stamp runs no revision."""
    found = _resolve(chain, revision, current)
    goal = () if found == "base" else (found,)
    return Plan(direction=Direction.STAMP, start=current, goal=goal, steps=())


def contracts_up_to(chain: Chain, current: tuple[str, ...]) -> tuple[Contract, ...]:
    """Contracts of all revisions that `current` includes, oldest first. Reads revision files."""
    passed = _ancestors(chain, current)
    scripts = [s for s in chain.scripts.walk_revisions() if s.revision in passed]
    return tuple(c for s in reversed(scripts) if (c := _step(s).contract) is not None)


def plan_checks(plan: Plan) -> tuple[Check, ...]:
    """Pure. Whether every step can be run in the guarded transaction: it has a contract and no hazard."""
    checks: list[Check] = []
    for step in plan.steps:
        checks.append(
            Check(
                name=Phrase("contract of {revision}", revision=step.revision),
                ok=step.contract is not None,
                expected=Phrase("a contract beside upgrade()"),
                found=Phrase("there")
                if step.contract
                else Phrase("revision {revision} has none: nothing to prove it against", revision=step.revision),
                detail=step.path,
            )
        )
        checks += [
            Check(
                name=Phrase("transaction of {revision}", revision=step.revision),
                ok=False,
                expected=Phrase("one transaction"),
                found=hazard,
            )
            for hazard in step.hazards
        ]
    return tuple(checks)


def run_steps(conn: Connection, chain: Chain, plan: Plan, gate: object) -> None:
    """Run the plan's revisions by Alembic on this connection, in the transaction that is open; `gate` judges each.

    Whatever a revision raises comes through. On the way up `RevisionFailed` when none of them asked for an option that was
    given: a name that was mistyped would else be a wish that nobody heard.
    """
    from alembic import command

    asked: set[str] = set()
    chain.config.attributes |= {"connection": conn, "gate": gate, "asked": asked}
    try:
        goal = plan.goal[0] if plan.goal else "base"
        if plan.direction is Direction.UPGRADE:
            command.upgrade(chain.config, goal)
            _require_asked(chain.config.attributes["options"], asked)
        elif plan.direction is Direction.DOWNGRADE:
            command.downgrade(chain.config, goal)
        else:
            command.stamp(chain.config, goal, purge=True)
    finally:
        del chain.config.attributes["connection"], chain.config.attributes["gate"]


def _require_asked(given: Mapping[str, str], asked: set[str]) -> None:
    """Pure. Raise `RevisionFailed` when an option was given that no revision asked for."""
    unheard = sorted(set(given) - asked)
    if unheard:
        known = Phrase("they ask for {asked}", asked=", ".join(sorted(asked))) if asked else Phrase("they ask for none")
        raise RevisionFailed(
            Phrase(
                "No revision of this run asks for the option {unheard}: {known}.",
                unheard=", ".join(unheard),
                known=known,
            ),
            hint=Phrase("mend its name, or leave it out: --option NAME=VALUE"),
        )


def model_differences(conn: Connection) -> tuple[str, ...]:
    """How the models of this package differ from the database, in words. Reads only.

    What stands in the database and not in the models (live databases carry extras) does not count.
    """
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    from lawsker_db.models import metadata

    context = MigrationContext.configure(conn, opts=dict(COMPARISON))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what SQLAlchemy does not know of a live table (a CHECK that is NOT VALID)
        return in_words(compare_metadata(context, metadata))


def _step(script: Script) -> Step:
    contract = getattr(script.module, "contract", None)
    return Step(
        revision=script.revision,
        title=script.doc,
        path=Path(script.path).name,
        contract=contract if isinstance(contract, Contract) else None,
        hazards=find_hazards(Path(script.path).read_text(encoding="utf-8")),
    )


def _resolve(chain: Chain, revision: str, current: tuple[str, ...]) -> str:
    """Find a revision by id, unique prefix, "head", "base", or relative to current ("+1", "-1")."""
    from alembic.script.revision import RevisionError
    from alembic.util import CommandError

    relative = RELATIVE.fullmatch(revision)
    if relative:
        return _relative(chain, current, int(revision))
    if revision == "base":
        return revision
    try:
        found = chain.scripts.get_revision(chain.head if revision in ("head", "heads") else revision)
    except (CommandError, RevisionError):
        found = None
    if found is None:
        raise Refused(
            Phrase("Revision {revision} is not in the chain.", revision=revision),
            hint=_those_of(chain),
        )
    return str(found.revision)


def _relative(chain: Chain, current: tuple[str, ...], steps: int) -> str:
    """So many revisions above or below the current one, in a chain without branches."""
    line = [
        "base",
        *(s.revision for s in reversed(list(chain.scripts.iterate_revisions(chain.head, "base")))),
    ]
    place = line.index(current[0]) + steps if current and current[0] in line else steps
    if not 0 <= place < len(line):
        raise Refused(
            Phrase(
                "There is no revision {steps:+d} from {current}.",
                steps=steps,
                current=current[0] if current else "base",
            ),
            hint=_those_of(chain),
        )
    return line[place]


def _those_of(chain: Chain) -> Phrase:
    """What can be typed instead of a revision that is not there, the newest first."""
    listed = [script.revision for script in chain.scripts.iterate_revisions(chain.head, "base")]
    return Phrase("name one that the chain has: {revisions}, or base", revisions=first_of(listed, SHOWN))


def require_known(chain: Chain, current: tuple[str, ...]) -> None:
    """Raise `Refused` for a stamp that is not of this chain. Reads revision files."""
    for revision in current:
        if not chain.knows((revision,)):
            raise Refused(
                Phrase(
                    "The database is stamped with revision {revision}, which this chain does not know.",
                    revision=revision,
                ),
                hint=STRANGE,
            )


def _ancestors(chain: Chain, revisions: tuple[str, ...]) -> frozenset[str]:
    """The revisions and everything below them."""
    found: set[str] = set()
    for revision in revisions:
        found |= {script.revision for script in chain.scripts.iterate_revisions(revision, "base")}
    return frozenset(found)
