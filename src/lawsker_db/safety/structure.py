"""Structure: the promised objects as they stand, each difference under the code of verification's list that it breaks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from sqlalchemy import Connection

from lawsker_db.evidence import Check
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.catalog import Catalog, Difference, Facts, Identity, parts_of
from lawsker_db.postgres.indexes import IndexShape, index_shape
from lawsker_db.postgres.spelling import without_spelling
from lawsker_db.safety.checklist import not_run, passed, violated
from lawsker_db.safety.expectation import Promise, not_as_promised

INDEX_FLAGS = (("valid", Phrase("not valid")), ("ready", Phrase("not ready")), ("live", Phrase("not live")))
CODES = ("S02", *(f"S{number:02}" for number in range(4, 21)))
# What a difference breaks, by kind and attribute; "" is an object that is missing, "*" any other attribute. Who owns an
# object and whom it is open to is compared with users, not with what the role that looks would have made (S21).
BREAKS: Mapping[tuple[str, str], str] = {
    ("table", ""): "S02",
    ("table", "kind"): "S02",
    ("table", "persistence"): "S02",
    ("table", "access_method"): "S02",
    ("table", "inherits"): "S02",
    ("table", "partition_of"): "S02",
    ("table", "partition_key"): "S02",
    ("column", ""): "S04",
    ("column", "type"): "S05",
    ("column", "collation"): "S05",
    ("column", "not_null"): "S06",
    ("column", "default"): "S07",
    ("column", "identity"): "S07",
    ("column", "generated"): "S07",
    ("index", ""): "S14",
    ("index", "table"): "S14",
    ("index", "definition"): "S14",
    ("trigger", "*"): "S17",
    ("function", "*"): "S18",
    ("sequence", "*"): "S20",
    ("type", "*"): "S05",
}
OF_THE_OWNER = ("owner", "acl", "row_security", "forced")
LATER = re.compile(r"(?: NOT VALID| NOT ENFORCED)+$")
ACTION = re.compile(r" ON (?:DELETE|UPDATE) (?:CASCADE|RESTRICT|SET NULL|SET DEFAULT|NO ACTION)(?: \([^)]*\))?")
CONSTRAINTS = (("FOREIGN KEY", "S09"), ("CHECK", "S11"), ("PRIMARY KEY", "S08"), ("UNIQUE", "S13"))
ENABLED = "O"  # pg_trigger.tgenabled: fires for everybody who is no replica


def check_structure(conn: Connection, promise: Promise, now: Catalog, *, warning: bool) -> tuple[Check, ...]:
    """Findings S02 and S04 to S20: the promised objects in the catalog `now`. Tries spellings under a savepoint, with
    the locks of `without_spelling`. `warning`: the revision was adopted, so that what differs was told already."""
    found = tuple(without_spelling(conn, not_as_promised(now, promise)))
    broken: dict[str, list[str]] = {}
    covered = {identity for identity in _indexes(promise) if _is_covered(identity, promise, now)}
    for difference in found:
        if (difference.kind, difference.name) in covered and _code(difference, promise) == "S14":
            continue
        for code in _codes(difference, promise):
            broken.setdefault(code, []).append(difference.label)
    for code, labels in (
        ("S12", _not_enforced(promise, now)),
        ("S15", _not_valid(promise, now)),
        ("S16", _alike(promise, now)),
    ):
        broken.setdefault(code, []).extend(label for label in labels if label not in broken[code])
    counts = _counts(promise, now)
    return tuple(
        violated(code, tuple(broken[code]), warning=warning)
        if broken.get(code)
        else passed(code, Phrase("{number} as promised", number=counts[code]))
        if counts[code]
        else not_run(code, Phrase("revision {revision} promises none", revision=promise.contract.revision))
        for code in CODES
    )


def _codes(difference: Difference, promise: Promise) -> tuple[str, ...]:
    """Pure. The codes that a difference breaks; none for what no code speaks of (who owns it, how it is stored)."""
    code = _code(difference, promise)
    if code is None:
        return ()
    if _extended(difference, promise):
        return ("S19",)
    serial = {f"{promise.schema}.{table.name}.{table.serial}" for table in promise.contract.tables if table.serial}
    return (code, "S20") if code == "S07" and difference.name in serial else (code,)


def _code(difference: Difference, promise: Promise) -> str | None:
    """Pure. The code of a difference by its kind and attribute."""
    if difference.attribute in OF_THE_OWNER:
        return None
    if difference.kind == "constraint":
        return _code_of_constraint(difference, promise)
    if difference.kind == "index" and difference.attribute in ("", "table", "definition"):
        return _code_of_index(difference.name, promise)
    kind = difference.kind
    return BREAKS.get((kind, difference.attribute), BREAKS.get((kind, "*")))


def _code_of_constraint(difference: Difference, promise: Promise) -> str | None:
    """Pure. A missing or other constraint, by what was promised. What is not validated or not enforced is S12's own."""
    if difference.attribute not in ("", "definition"):
        return None
    promised = str(promise.built.objects["constraint", difference.name].get("definition"))
    code = next((code for word, code in CONSTRAINTS if promised.startswith(word)), None)
    if difference.attribute == "definition":
        found = LATER.sub("", difference.found)
        if found == promised:
            return None
        if code == "S09" and ACTION.sub("", found) == ACTION.sub("", promised):
            return "S10"
    return code


def _code_of_index(name: str, promise: Promise) -> str:
    """Pure. The index of a key or of a UNIQUE constraint goes with it."""
    for table in promise.contract.tables:
        if name == f"{promise.schema}.{table.name}_pkey":
            return "S08"
        if name in {f"{promise.schema}.{unique.name}" for unique in table.unique}:
            return "S13"
    return "S14"


def _extended(difference: Difference, promise: Promise) -> bool:
    """Pure. Whether it is a part of what the revision adds to an older table."""
    for extension in promise.contract.extensions:
        table = f"{promise.schema}.{extension.table}"
        if difference.kind == "index":
            if promise.built.objects["index", difference.name].get("table") == table:
                return True
        elif difference.name.startswith(f"{table}."):
            return True
    return False


def _is_covered(identity: Identity, promise: Promise, now: Catalog) -> bool:
    """Pure. Whether some valid index does the work of a promised one, under whatever name."""
    wanted = index_shape(str(promise.built.objects[identity].get("definition")))
    return wanted is not None and any(shape.does_the_work_of(wanted) for shape in usable_indexes(now, wanted.table))


def usable_indexes(now: Catalog, table: str) -> Iterator[IndexShape]:
    """Pure. The indexes of a table that the server may use, as shapes."""
    for (kind, _), facts in now.objects.items():
        if kind == "index" and facts.get("table") == table and facts.get("valid") and facts.get("ready"):
            shape = index_shape(str(facts.get("definition")))
            if shape is not None:
                yield shape


def _not_enforced(promise: Promise, now: Catalog) -> Iterator[str]:
    """Pure. Constraints of promised tables that hold not for every row, or are not looked at, whoever made them."""
    for name, facts in of_tables(now, "constraint", promised_tables(promise)):
        if not facts.get("validated") or LATER.search(str(facts.get("definition"))):
            yield Phrase("constraint {name}: not validated", name=name)
        elif facts.get("triggers") not in (None, ENABLED):
            yield Phrase("constraint {name}: its triggers are disabled", name=name)


def _not_valid(promise: Promise, now: Catalog) -> Iterator[str]:
    tables = promised_tables(promise)
    for (kind, name), facts in sorted(now.objects.items()):
        if kind == "index" and facts.get("table") in tables:
            wrong = [words for flag, words in INDEX_FLAGS if not facts.get(flag)]
            if wrong:
                yield Phrase("index {name}: {wrong}", name=name, wrong=joined(wrong, " and "))


def _alike(promise: Promise, now: Catalog) -> Iterator[str]:
    """Pure. Pairs of indexes that do the same work. On an older table only where one of them is ours: its own twins
    are no business of this revision."""
    tables = promised_tables(promise)
    seen: dict[tuple[object, ...], str] = {}
    extended = {f"{promise.schema}.{extension.table}" for extension in promise.contract.extensions}
    for (kind, name), facts in sorted(now.objects.items()):
        shape = index_shape(str(facts.get("definition"))) if kind == "index" else None
        if shape is None or shape.table not in tables | extended:
            continue
        first = seen.setdefault(shape.work, name)
        ours = shape.table in tables or any(("index", one) in promise.built.objects for one in (first, name))
        if first != name and ours:
            yield Phrase("indexes {first} and {name}", first=first, name=name)


def promised_tables(promise: Promise) -> set[str]:
    """Pure. The qualified names of the tables that the contract makes."""
    return {f"{promise.schema}.{table.name}" for table in promise.contract.tables}


def of_tables(now: Catalog, kind: str, tables: set[str]) -> Iterator[tuple[str, Facts]]:
    """Pure. Objects of one kind that hang on these tables, in order: columns, constraints, triggers and the like."""
    for (found, name), facts in sorted(now.objects.items()):
        if found == kind and ".".join(parts_of(name)[:-1]) in tables:
            yield name, facts


def _indexes(promise: Promise) -> tuple[Identity, ...]:
    return tuple(identity for identity in promise.built.objects if identity[0] == "index")


def _counts(promise: Promise, now: Catalog) -> dict[str, int]:
    """Pure. How many things each code has looked at."""
    counts = dict.fromkeys(CODES, 0)
    for (kind, name), facts in promise.built.objects.items():
        whole = Difference(kind=kind, name=name, attribute="", expected="", found="")
        if _extended(whole, promise):
            counts["S19"] += 1
            continue
        code = _code(whole, promise)
        if code is not None:
            counts[code] += 1
        if kind == "column":
            counts["S05"] += 1
            counts["S06"] += 1
            counts["S07"] += 1
        if kind == "constraint" and str(facts.get("definition")).startswith("FOREIGN KEY"):
            counts["S10"] += 1
    tables = promised_tables(promise)
    counts["S12"] = sum(1 for _ in of_tables(now, "constraint", tables))
    counts["S15"] = sum(
        1 for (kind, _), facts in now.objects.items() if kind == "index" and facts.get("table") in tables
    )
    counts["S16"] = counts["S15"]
    return counts
