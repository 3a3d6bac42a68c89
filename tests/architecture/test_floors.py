"""The house keeps its shape: floors, fences and guard figures of the design, read from the source text.

Every rule is a function from sources to sentences, one for each violation, and is tested twice: the product
has no violation, and a planted one is caught. A rule that catches nothing would pass for ever.
"""

from __future__ import annotations

import ast
import re
import statistics
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGE = "lawsker_db"

# The one list of all modules, floor by floor. A module imports only from those written before it: from the
# floors below, and from earlier ones on its own floor. "name/" is a package or module that counts as one
# place, whatever it holds.
FLOORS: Mapping[str, tuple[str, ...]] = {
    "1 values": ("phrases", "errors", "processes", "models/", "contract", "changes", "evidence", "target"),
    "2 server": (
        "postgres",
        "postgres.session",
        "postgres.tools",
        "postgres.pulse",
        "postgres.pooler",
        "postgres.arrival",
        "postgres.seal",
        "postgres.blockers",
        "postgres.older_snapshots",
        "postgres.locks",
        "postgres.snapshot",
        "postgres.facts",
        "postgres.closed",
        "postgres.catalog",
        "postgres.spelling",
        "postgres.scratch",
        "postgres.fingerprint",
        "postgres.kept",
        "postgres.dependants",
        "postgres.content",
        "postgres.statistics",
        "postgres.reinstating",
        "postgres.databases",
        "postgres.swap",
        "postgres.restorable",
        "postgres.dumpable",
        "postgres.touched",
        "postgres.rows",
        "postgres.differing",
        "postgres.rescuing_sql",
        "postgres.replaying",
        "postgres.meter",
        "postgres.indexes",
        "postgres.plans",
        "postgres.activity",
        "postgres.storage",
        "postgres.replication",
        "postgres.progressing",
    ),
    "3 alembic": ("hazards", "drift", "revisions", "ops"),
    "4 memory": (
        "record",
        "record.journal",
        "record.markup",
        "record.log",
        "record.history",
        "record.manifest",
        "record.plans",
        "record.document",
        "record.runs",
        "record.charts",
        "record.page",
        "record.diagram",
        "record.junit",
        "record.course",
        "record.findings",
        "record.report",
    ),
    "5 procedures": (
        "safety",
        "safety.pace",
        "safety.provisions",
        "safety.needs",
        "safety.preflight",
        "safety.rights",
        "safety.grants",
        "safety.archive",
        "safety.backup",
        "safety.proof",
        "safety.shelf",
        "safety.precedent",
        "safety.errands",
        "safety.drill",
        "safety.expectation",
        "safety.promises",
        "safety.observation",
        "safety.waiting",
        "safety.groups",
        "safety.keeping",
        "safety.since",
        "safety.choice",
        "safety.reinstatement",
        "safety.answers",
        "safety.made",
        "safety.gate",
        "safety.hanging",
        "safety.checklist",
        "safety.contents",
        "safety.stage",
        "safety.behaviour",
        "safety.structure",
        "safety.surroundings",
        "safety.older",
        "safety.performance",
        "safety.doubt",
        "safety.commit",
        "safety.confirmation",
        "safety.guard",
        "safety.plain",
        "safety.account",
        "safety.attempts",
        "safety.verification",
        "safety.rehearsal",
        "safety.afterwards",
        "safety.rescue_files",
        "safety.restore_account",
        "safety.ended",
        "safety.leftovers",
        "safety.recovery",
        "safety.standing",
        "safety.audit",
        "safety.returned",
        "safety.rollback",
        "safety.rescue",
        "safety.replay",
        "safety.restore_checks",
        "safety.exchange",
        "safety.leftover_rows",
        "safety.restore",
        "safety.way_back",
        "safety.upgrade",
        "safety.readiness",
        "safety.adoption",
    ),
    "6 watch": (
        "monitor",
        "monitor.integrity",
        "monitor.running",
        "monitor.sample",
        "monitor.problem",
        "monitor.rules_of_sessions",
        "monitor.rules_of_storage",
        "monitor.rules",
        "monitor.watching",
        "monitor.metrics",
        "monitor.figures",
        "monitor.trends",
        "monitor.report_page",
        "monitor.report",
    ),
    "7 demo": ("demo/",),
    "8 face": ("cli/",),
}
PLACES = ("", *(place for floor in FLOORS.values() for place in floor))  # "" is the package's own __init__

ALEMBIC = ("revisions", "ops")
PROCESSES = ("processes",)
FACE = ("cli/",)
ENVIRONMENT = ("target", "postgres.tools", "demo/", "cli/")
REVISION_IMPORTS = (f"{PACKAGE}.contract", f"{PACKAGE}.ops")

PROCESS_MODULES = ("subprocess", "multiprocessing", "pty", "concurrent.futures.process")
PROCESS_CALLS = re.compile(
    r"os\.(fork|forkpty|system|popen|exec[lv]\w*|spawn[lv]\w*|posix_spawnp?)"
    r"|asyncio\.(create_)?subprocess\w*|concurrent\.futures\.ProcessPoolExecutor"
)
ENVIRONMENT_NAMES = re.compile(r"os\.(environb?|getenvb?)")
DYNAMIC_IMPORTS = re.compile(r"importlib\.(import_module|__import__)")

NOT_OUR_WORDS = re.compile(r"(manager|executor|handler|helper|util|processor)s?|common")

FUNCTION_LINES = 60
ORCHESTRATOR_LINES = 80
ORCHESTRATORS = frozenset({"safety.upgrade:safe_upgrade"})  # one for each procedure at most: module:function
MEDIAN_LINES = 10
MODULE_LINES = 400
# The last line of the command, the two places where revisions run, which are foreign code and may raise anything, the
# thread that hands on what its work raised, what is said between COMMIT and its answer, and what only tells of a run: its
# display and its report. Elsewhere a broad handler must raise again.
BROAD_EXCEPT = frozenset(
    {
        "cli:main",
        "cli.progress:_shown",
        "postgres.pulse:bounded",
        "record.report:write_report",
        "revisions:load_chain",
        "safety.account:_comparison",
        "safety.commit:_tell",
        "safety.guard:_revisions_own_errors",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One source file. `name` is its dotted name inside the package ("" for the package's own __init__)."""

    name: str
    text: str
    tree: ast.Module
    is_package: bool = False


Rule = Callable[[tuple[Module, ...]], list[str]]


def parse(name: str, text: str, *, is_package: bool = False) -> Module:
    """Read one source text."""
    return Module(name=name, text=text, tree=ast.parse(text), is_package=is_package)


def product() -> tuple[Module, ...]:
    """Every module of the package, as it stands in the checkout."""
    root = CHECKOUT / "src" / PACKAGE
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found.append(parse(name, path.read_text(), is_package=is_package))
    return tuple(found)


def within(name: str, places: tuple[str, ...]) -> bool:
    """Tell whether a module stands in one of these places."""
    return any(
        place in (name, f"{name}/") or (place[-1:] == "/" and name.startswith(place[:-1] + ".")) for place in places
    )


def place_of(name: str) -> int | None:
    """Return the position of a module in the house, None when it was given no place."""
    return next((number for number, place in enumerate(PLACES) if within(name, (place,))), None)


# --- reading one module -------------------------------------------------------------------------------------


def imports(module: Module) -> Iterator[tuple[int, str, str | None]]:
    """Yield line, absolute module, and the name taken from it: every import, those inside functions too."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, None
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, absolute(module, node), alias.name


def absolute(module: Module, node: ast.ImportFrom) -> str:
    """Return the full name of what a `from` import names, relative or not."""
    if not node.level:
        return node.module or ""
    parts = [PACKAGE, *module.name.split(".")] if module.name else [PACKAGE]
    parts = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*parts, node.module] if node.module else parts)


def imports_of(module: Module, roots: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield line and name of each import of one of these modules or of what is in them."""
    for line, source, name in imports(module):
        full = source if name is None else f"{source}.{name}"
        if any(f"{full}.".startswith(f"{root}.") for root in roots):
            yield line, full


def names_used(module: Module) -> Iterator[tuple[int, str]]:
    """Yield line and full name of all that is imported by name or reached through an imported module."""
    bound: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{absolute(module, node)}.{alias.name}"
                bound[alias.asname or alias.name] = full
                yield node.lineno, full
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            if first in bound:
                yield node.lineno, f"{bound[first]}.{rest}"


Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_function(node: ast.AST) -> TypeGuard[Function]:
    """Tell whether a node is a def."""
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def functions(module: Module) -> Iterator[tuple[str, Function]]:
    """Yield every function under the name `module:function`, methods and inner ones too."""
    for node in ast.walk(module.tree):
        if is_function(node):
            yield f"{module.name}:{node.name}", node


def length(function: Function) -> int:
    """Count the lines of a function from its `def` to its end, its docstring not among them."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        first = function.body[0]
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


# --- floors -------------------------------------------------------------------------------------------------


def modules_without_a_place(modules: tuple[Module, ...]) -> list[str]:
    """A new module must be given its place in FLOORS before it is used."""
    return [f"{module.name} has no place in FLOORS" for module in modules if place_of(module.name) is None]


def imports_from_above(modules: tuple[Module, ...]) -> list[str]:
    """A module imports only what is written before it in FLOORS."""
    known = {module.name for module in modules}
    found = []
    for module in modules:
        here = place_of(module.name)
        if here is None:
            continue  # said by another rule, once and not for every import
        for line, source, name in imports(module):
            if source.partition(".")[0] != PACKAGE:
                continue
            inside = source[len(PACKAGE) + 1 :]
            member = f"{inside}.{name}".lstrip(".")
            imported = member if name and member in known else inside
            there = place_of(imported)
            same_package = here == there and PLACES[here][-1:] == "/"
            if there is None or not (there < here or same_package):
                found.append(f"{module.name}:{line} imports {imported or PACKAGE}, which is not below it")
    return found


def foreign_imports_of_the_contract(modules: tuple[Module, ...]) -> list[str]:
    """contract.py imports the standard library only: revision files of every age import it."""
    return [
        f"contract:{line} imports {source}"
        for module in modules
        if module.name == "contract"
        for line, source, _ in imports(module)
        if source.partition(".")[0] not in sys.stdlib_module_names
    ]


# --- fences -------------------------------------------------------------------------------------------------


def alembic_outside_its_door(modules: tuple[Module, ...]) -> list[str]:
    """The library alembic is imported only in revisions.py and ops.py."""
    outside = (module for module in modules if not within(module.name, ALEMBIC))
    return [
        f"{module.name}:{line} imports {name}" for module in outside for line, name in imports_of(module, ("alembic",))
    ]


def processes_started_elsewhere(modules: tuple[Module, ...]) -> list[str]:
    """Processes are started only in processes.py."""
    found = []
    for module in modules:
        if within(module.name, PROCESSES):
            continue
        found += [f"{module.name}:{line} imports {name}" for line, name in imports_of(module, PROCESS_MODULES)]
        found += [f"{module.name}:{line} uses {name}" for line, name in names_used(module) if PROCESS_CALLS.match(name)]
    return found


def talk_outside_the_face(modules: tuple[Module, ...]) -> list[str]:
    """typer, rich and print belong to the command line alone."""
    found = []
    for module in modules:
        if within(module.name, FACE):
            continue
        found += [
            f"{module.name}:{line} imports {name}" for line, name in imports_of(module, ("typer", "click", "rich"))
        ]
        found += [
            f"{module.name}:{node.lineno} prints"
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Name) and node.id == "print"
        ]
    return found


def environment_read_elsewhere(modules: tuple[Module, ...]) -> list[str]:
    """Only a few modules read the environment: whatever else a function depends on is an argument."""
    return [
        f"{module.name}:{line} reads {name}"
        for module in modules
        if not within(module.name, ENVIRONMENT)
        for line, name in names_used(module)
        if ENVIRONMENT_NAMES.match(name)
    ]


def imports_by_string(modules: tuple[Module, ...]) -> list[str]:
    """No module is imported by a string: these rules could not see it."""
    found = []
    for module in modules:
        found += [
            f"{module.name}:{line} uses {name}" for line, name in names_used(module) if DYNAMIC_IMPORTS.match(name)
        ]
        found += [
            f"{module.name}:{node.lineno} uses __import__"
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Name) and node.id == "__import__"
        ]
    return found


def imports_of_revisions(modules: tuple[Module, ...]) -> list[str]:
    """Of ours, revision files import the contract and the operations: all else may change under them."""
    return [
        f"{module.name}:{line} imports {name}"
        for module in modules
        for line, name in imports_of(module, (PACKAGE,))
        if not any(f"{name}.".startswith(f"{allowed}.") for allowed in REVISION_IMPORTS)
    ]


def words_that_say_nothing(modules: tuple[Module, ...]) -> list[str]:
    """No module is called manager, helper, utils or the like: the name must say what is in it."""
    return [
        f"{module.name} says nothing by {', '.join(sorted(words))}"
        for module in modules
        if (words := {word for word in re.split(r"[._]", module.name) if NOT_OUR_WORDS.fullmatch(word)})
    ]


# --- guard figures ------------------------------------------------------------------------------------------


def long_functions(modules: tuple[Module, ...]) -> list[str]:
    """A function has 60 lines at most, a named orchestrator 80."""
    return [
        f"{name} has {length(function)} lines"
        for module in modules
        for name, function in functions(module)
        if length(function) > (ORCHESTRATOR_LINES if name in ORCHESTRATORS else FUNCTION_LINES)
    ]


def long_median(modules: tuple[Module, ...]) -> list[str]:
    """Half of all functions are short."""
    lengths = [length(function) for module in modules for _, function in functions(module)]
    median = statistics.median(lengths) if lengths else 0
    return [f"the median function has {median} lines"] if median > MEDIAN_LINES else []


def long_modules(modules: tuple[Module, ...]) -> list[str]:
    """A module has 400 lines at most."""
    counted = ((module.name, len(module.text.splitlines())) for module in modules)
    return [f"{name} has {lines} lines" for name, lines in counted if lines > MODULE_LINES]


def swallowed_errors(modules: tuple[Module, ...]) -> list[str]:
    """Errors are caught by name. A broad handler must end in `raise`, but for the command's last line."""
    found = []
    for module in modules:
        allowed = {
            node
            for name, function in functions(module)
            if name in BROAD_EXCEPT
            for node in ast.walk(function)
            if isinstance(node, ast.ExceptHandler)
        }
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler) and is_broad(node.type) and node not in allowed:
                last = node.body[-1]
                if not (isinstance(last, ast.Raise) and last.exc is None):
                    found.append(f"{module.name}:{node.lineno} catches everything")
            elif (
                isinstance(node, ast.Call)
                and ast.unparse(node.func).endswith("suppress")
                and any(map(is_broad, node.args))
            ):
                found.append(f"{module.name}:{node.lineno} suppresses everything")
    return found


def is_broad(caught: ast.expr | None) -> bool:
    """Tell whether an except clause catches Exception or BaseException, alone or among others."""
    if isinstance(caught, ast.Tuple):
        return any(is_broad(item) for item in caught.elts)
    return caught is None or ast.unparse(caught) in ("Exception", "BaseException")


def unfinished_work(modules: tuple[Module, ...]) -> list[str]:
    """What is not done is an issue, not a comment."""
    return [
        f"{module.name}:{number} is unfinished"
        for module in modules
        for number, line in enumerate(module.text.splitlines(), 1)
        if re.search(r"\b(TODO|FIXME|XXX)\b", line)
    ]


def mocks(modules: tuple[Module, ...]) -> list[str]:
    """Tests ask a real server: a mock of PostgreSQL agrees with whatever its author believed."""
    roots = ("unittest.mock", "mock", "pytest_mock")
    return [f"{module.name}:{line} imports {name}" for module in modules for line, name in imports_of(module, roots)]


# --- the rules, applied -------------------------------------------------------------------------------------

RULES_OF_THE_PRODUCT: tuple[Rule, ...] = (
    modules_without_a_place,
    imports_from_above,
    foreign_imports_of_the_contract,
    alembic_outside_its_door,
    processes_started_elsewhere,
    talk_outside_the_face,
    environment_read_elsewhere,
    imports_by_string,
    words_that_say_nothing,
    long_functions,
    long_median,
    long_modules,
    swallowed_errors,
    unfinished_work,
)

LONG = "def f():\n" + "    x = 1\n" * 60
PLANTED: tuple[tuple[Rule, str, str], ...] = (
    (modules_without_a_place, "postgres.novelty", ""),
    (modules_without_a_place, "novelty", ""),
    (imports_from_above, "errors", "from lawsker_db.cli import main"),
    (imports_from_above, "errors", "import lawsker_db.evidence"),
    (imports_from_above, "errors", "from . import target"),
    (imports_from_above, "postgres.session", "from .locks import run_lock"),
    (imports_from_above, "postgres.session", "from ..safety import gate"),
    (imports_from_above, "postgres.tools", "def f():\n    from lawsker_db.postgres import locks"),
    (imports_from_above, "postgres.session", "from lawsker_db.novelty import x"),
    (imports_from_above, "demo.server", "from lawsker_db.cli import main"),
    (foreign_imports_of_the_contract, "contract", "import sqlalchemy"),
    (foreign_imports_of_the_contract, "contract", "from lawsker_db.errors import Refused"),
    (alembic_outside_its_door, "safety.upgrade", "from alembic import command"),
    (alembic_outside_its_door, "cli", "def f():\n    import alembic.config"),
    (processes_started_elsewhere, "postgres.tools", "import subprocess"),
    (processes_started_elsewhere, "demo.server", "from subprocess import Popen"),
    (processes_started_elsewhere, "demo.server", "import os as system\nsystem.fork()"),
    (processes_started_elsewhere, "demo.server", "from os import execv"),
    (processes_started_elsewhere, "monitor", "import multiprocessing.pool"),
    (processes_started_elsewhere, "monitor", "import asyncio\nasyncio.create_subprocess_exec('ls')"),
    (processes_started_elsewhere, "monitor", "from concurrent.futures import ProcessPoolExecutor"),
    (talk_outside_the_face, "safety.upgrade", "print('done')"),
    (talk_outside_the_face, "safety.upgrade", "say = print"),
    (talk_outside_the_face, "record.report", "from rich.table import Table"),
    (talk_outside_the_face, "demo.server", "import typer"),
    (environment_read_elsewhere, "safety.backup", "import os\nos.environ['HOME']"),
    (environment_read_elsewhere, "safety.backup", "from os import getenv"),
    (environment_read_elsewhere, "processes", "import os as o\no.getenv('HOME')"),
    (imports_by_string, "cli", "import importlib\nimportlib.import_module('alembic')"),
    (imports_by_string, "cli", "__import__('alembic')"),
    (imports_of_revisions, "013", "from lawsker_db.models import metadata"),
    (imports_of_revisions, "013", "from lawsker_db import errors"),
    (imports_of_revisions, "013", "import lawsker_db"),
    (words_that_say_nothing, "postgres.utils", ""),
    (words_that_say_nothing, "safety.backup_manager", ""),
    (long_functions, "monitor", LONG),
    (long_functions, "monitor", "class A:\n" + re.sub("^", "    ", LONG, flags=re.MULTILINE)),
    (long_median, "monitor", LONG),
    (long_modules, "monitor", "x = 1\n" * 401),
    (swallowed_errors, "monitor", "try:\n    f()\nexcept Exception:\n    pass"),
    (swallowed_errors, "monitor", "try:\n    f()\nexcept:\n    g()"),
    (
        swallowed_errors,
        "monitor",
        "try:\n    f()\nexcept (OSError, BaseException) as e:\n    raise ValueError from e",
    ),
    (swallowed_errors, "monitor", "from contextlib import suppress\nwith suppress(Exception):\n    f()"),
    (swallowed_errors, "cli", "def other():\n    try:\n        f()\n    except Exception:\n        pass"),
    (unfinished_work, "monitor", "x = 1  # TODO: later"),
    (mocks, "test_x", "from unittest import mock"),
    (mocks, "test_x", "from unittest.mock import patch"),
    (mocks, "test_x", "def f():\n    import mock"),
)

INNOCENT: tuple[tuple[Rule, str, str], ...] = (
    (
        imports_from_above,
        "postgres.session",
        "from lawsker_db.errors import Refused\nfrom lawsker_db import __version__",
    ),
    (imports_from_above, "postgres.locks", "from .session import literal\nfrom ..target import Target"),
    (imports_from_above, "demo.server", "from lawsker_db.demo.sample import load\nfrom . import sample"),
    (alembic_outside_its_door, "ops", "from alembic import op"),
    (processes_started_elsewhere, "demo.server", "import os\nfrom lawsker_db import processes\nos.getpid()"),
    (talk_outside_the_face, "cli.render", "import rich\nprint('done')"),
    (environment_read_elsewhere, "demo.server", "import os\nos.environ['HOME']"),
    (
        imports_of_revisions,
        "013",
        "from lawsker_db import contract, ops\nfrom lawsker_db.contract import Contract",
    ),
    (long_functions, "safety.upgrade", LONG.replace("def f", "def safe_upgrade")),
    (swallowed_errors, "cli", "def main():\n    try:\n        f()\n    except Exception:\n        pass"),
    (swallowed_errors, "monitor", "try:\n    f()\nexcept BaseException:\n    g()\n    raise"),
)


def case_name(case: object) -> str:
    """Name a parametrized case by its rule and source."""
    return str(getattr(case, "__name__", "")) if callable(case) else str(case).replace("\n", "; ")[:50]


def planted_modules(name: str, text: str) -> tuple[Module, ...]:
    """Return a small house with one module of ours in it."""
    others = ("errors", "target", "postgres.session", "postgres.locks", "safety.gate", "demo.sample")
    return (
        *(parse(other, "") for other in others if other != name),
        parse(name, text, is_package=name == "cli"),
    )


@pytest.mark.parametrize("rule", RULES_OF_THE_PRODUCT, ids=case_name)
def test_the_product_keeps(rule: Rule) -> None:
    modules = product()
    assert modules
    violations = rule(modules)
    assert not violations, "\n".join(violations)


@pytest.mark.parametrize(("rule", "name", "text"), PLANTED, ids=case_name)
def test_a_planted_violation_is_caught(rule: Rule, name: str, text: str) -> None:
    assert rule(planted_modules(name, text)) != []


@pytest.mark.parametrize(("rule", "name", "text"), INNOCENT, ids=case_name)
def test_what_is_allowed_is_not_reported(rule: Rule, name: str, text: str) -> None:
    assert rule(planted_modules(name, text)) == []


def test_every_rule_has_a_planted_violation() -> None:
    assert {*RULES_OF_THE_PRODUCT, imports_of_revisions, mocks} == {rule for rule, _, _ in PLANTED}


def test_every_module_stands_in_the_list_once() -> None:
    assert [place for place, times in Counter(place.rstrip("/") for place in PLACES).items() if times > 1] == []
    assert [m.name for m in product() if sum(within(m.name, (place,)) for place in PLACES) > 1] == []


@pytest.mark.parametrize("floor", FLOORS)
def test_the_page_of_the_house_tells_what_every_module_is(floor: str) -> None:
    number, _, word = floor.partition(" ")
    _, _, rest = (CHECKOUT / "docs" / "architecture.md").read_text().partition(f"\n### Floor {number}: {word}\n")
    told = re.findall(r"^\| `(\w+)` \| \S", re.split(r"\n##", rest)[0], re.MULTILINE)
    (place, *others) = FLOORS[floor]
    if place.endswith("/") and not others:  # one place in which any module may import any other
        within_it = (CHECKOUT / "src" / PACKAGE / place).glob("*.py")
        assert told == sorted(path.stem for path in within_it if path.stem != "__init__")
    else:
        packages = {name.partition(".")[0] for name in FLOORS[floor] if "." in name}
        names = (name.rstrip("/") for name in FLOORS[floor] if name not in packages)
        assert told == [name.rpartition(".")[2] for name in names]


def test_every_dependency_has_its_reason_and_no_upper_bound() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    asked = [one for extra in project["optional-dependencies"].values() for one in extra] + project["dependencies"]
    matches = [re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=[\d.]+", one) for one in asked]
    names = {found[1] for found in matches if found}
    assert len(names) == len(asked), asked
    _, _, rest = (CHECKOUT / "CONTRIBUTING.md").read_text().partition("\n## Dependencies, each with its reason\n")
    rows = re.findall(r"^\| ([\w, -]+?) (?:\([^)]*\) )?\| \S", re.split(r"\n##", rest)[0], re.MULTILINE)
    told = [name for row in rows for name in row.split(", ") if row not in ("Package", "---")]
    assert sorted(told) == sorted(names)


def test_named_orchestrators_exist_and_are_few() -> None:
    modules = product()
    functions_found = {name for module in modules for name, _ in functions(module)}
    written = {module.name for module in modules}
    gone = {o for o in ORCHESTRATORS if o.partition(":")[0] in written} - functions_found
    assert gone == set()
    assert len(ORCHESTRATORS) <= len(FLOORS["5 procedures"])


def test_revision_files_import_only_the_contract_and_the_operations_of_ours() -> None:
    files = sorted((CHECKOUT / "alembic" / "versions").glob("*.py"))
    assert files
    assert imports_of_revisions(tuple(parse(path.stem, path.read_text()) for path in files)) == []


def test_the_alembic_folder_does_not_shadow_the_library() -> None:
    assert list((CHECKOUT / "alembic").rglob("__init__.py")) == []


def test_alembic_files_bear_names_that_say_something() -> None:
    files = sorted((CHECKOUT / "alembic").rglob("*.py"))
    assert words_that_say_nothing(tuple(parse(path.stem, "") for path in files)) == []


def test_the_product_never_names_the_folder_beside_the_checkout() -> None:
    beside = "shared" + "/"
    files = [path for folder in ("src", "alembic") for path in (CHECKOUT / folder).rglob("*") if path.is_file()]
    texts = {path: path.read_text(errors="replace") for path in files if "__pycache__" not in path.parts}
    assert [str(path) for path, text in texts.items() if beside in text] == []


def test_no_test_mocks_anything() -> None:
    files = sorted((CHECKOUT / "tests").rglob("*.py"))
    assert mocks(tuple(parse(path.stem, path.read_text()) for path in files)) == []
