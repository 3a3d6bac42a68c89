"""The list of everything that verification looks at: a stable code, when it must hold, how grave a violation is, its words.

S is structure, D data, B business, P performance. A code is never used again for something else. Where a check must hold
*at the gate*, the applications may have moved on since: what they wrote after the run is information, not a violation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from lawsker_db.evidence import Check
from lawsker_db.phrases import Phrase, first_of, joined

SHOWN = 5  # offending keys in one finding: enough to see the pattern, few enough to read at night


class Severity(StrEnum):
    """What a violation means: the promise is broken, or somebody should look."""

    ERROR = "error"
    WARNING = "warning"


class When(StrEnum):
    """When a check must hold: at COMMIT (applications may move on afterwards), or always."""

    GATE = "gate"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Item:
    """One check of the list. `hint` is what to do when it does not hold: a sentence, or a command."""

    code: str
    severity: Severity
    when: When
    title: str
    expected: str
    hint: str


_ERROR, _WARNING = Severity.ERROR, Severity.WARNING
_GATE, _ALWAYS = When.GATE, When.ALWAYS
_MEND = Phrase("put it back as the contract says, or go back: lawsker-db rollback")
_TRY_AGAIN = Phrase("mend what kept it from being tried, then lawsker-db verify")
_ROWS = Phrase("compare these rows with the backup of the run before anything else writes them")

CHECKLIST: tuple[Item, ...] = (
    Item("S01", _ERROR, _ALWAYS, "stamp", "alembic_version names one revision of this chain, once", "lawsker-db status"),
    Item("S02", _ERROR, _ALWAYS, "tables",
         "every promised table stands in the application's schema, an ordinary one", _MEND),
    Item("S03", _ERROR, _ALWAYS, "names",
         "no other relation is found first when a promised table is named without its schema",
         Phrase("rename what shadows it, or mend the role's search_path")),
    Item("S04", _ERROR, _ALWAYS, "columns", "every promised column is there", _MEND),
    Item("S05", _ERROR, _ALWAYS, "types", "every promised column has exactly its type and collation", _MEND),
    Item("S06", _ERROR, _ALWAYS, "not null", "every promised column is NOT NULL, or may be null, as promised", _MEND),
    Item("S07", _ERROR, _ALWAYS, "defaults", "every promised column has its default, and no other", _MEND),
    Item("S08", _ERROR, _ALWAYS, "primary keys", "every promised table has its primary key", _MEND),
    Item("S09", _ERROR, _ALWAYS, "foreign keys", "every promised foreign key is there, on its columns", _MEND),
    Item("S10", _ERROR, _ALWAYS, "foreign keys' actions", "every foreign key acts on DELETE and UPDATE as promised", _MEND),
    Item("S11", _ERROR, _ALWAYS, "checks", "every promised CHECK is there, with its text", _MEND),
    Item("S12", _ERROR, _ALWAYS, "validated",
         "every constraint of the promised tables is validated and enforced",
         "ALTER TABLE … VALIDATE CONSTRAINT …; ALTER TABLE … ENABLE TRIGGER ALL"),
    Item("S13", _ERROR, _ALWAYS, "unique constraints", "every promised UNIQUE constraint is there, on its columns", _MEND),
    Item("S14", _ERROR, _ALWAYS, "indexes", "for every promised index there is one that does its work", _MEND),
    Item("S15", _ERROR, _ALWAYS, "indexes valid",
         "every index of the promised tables is valid, ready and live", "REINDEX INDEX CONCURRENTLY …"),
    Item("S16", _WARNING, _ALWAYS, "indexes alike",
         "no two indexes of a promised table do the same work",
         Phrase("drop the one that nobody promised: DROP INDEX CONCURRENTLY …")),
    Item("S17", _ERROR, _ALWAYS, "triggers",
         "every promised trigger is there, enabled, and calls the promised function", _MEND),
    Item("S18", _ERROR, _ALWAYS, "functions", "every promised function has the promised body and properties", _MEND),
    Item("S19", _ERROR, _ALWAYS, "extended tables",
         "the columns, checks and indexes added to older tables are as promised", _MEND),
    Item("S20", _ERROR, _ALWAYS, "sequences", "every promised sequence belongs to its column and counts as promised", _MEND),
    Item("S21", _WARNING, _ALWAYS, "owners and grants",
         "promised tables belong to whom users belongs, open to those to whom it is and nobody else",
         Phrase("GRANT what the application needs; ALTER TABLE … OWNER TO …")),
    Item("S22", _WARNING, _ALWAYS, "older objects",
         "everything that existed before the run is as it was",
         Phrase("look who changed it; the backup's catalog.json has the old definition")),
    Item("S23", _WARNING, _ALWAYS, "left-overs",
         "nothing is left that nobody promised: scratch objects, or extras on promised tables",
         Phrase("lawsker-db recover; drop the rest by hand if nobody needs it")),
    Item("S24", _WARNING, _ALWAYS, "models", "the models of this package and the database do not differ", _MEND),
    Item("D01", _WARNING, _GATE, "older content",
         "every older table holds what it held before the run, in its old columns",
         Phrase("if nobody wrote these tables since, compare with the backup: lawsker-db backup show")),
    Item("D02", _ERROR, _ALWAYS, "sequences ahead",
         "no sequence stands behind the column that it numbers", "SELECT setval('…', (SELECT max(…) FROM …))"),
    Item("D03", _WARNING, _GATE, "levels", "the ten lawyer levels are field by field those of the business", _ROWS),
    Item("D04", _WARNING, _GATE, "packages", "the four enterprise packages are field by field those of the business", _ROWS),
    Item("D05", _WARNING, _GATE, "demonstrations", "the two demonstration accounts are field by field as promised", _ROWS),
    Item("D06", _ERROR, _ALWAYS, "workspace ids present", "every user and every mapping has a workspace_id", _ROWS),
    Item("D07", _ERROR, _ALWAYS, "workspace ids formed", "every workspace_id is of the promised form", _ROWS),
    Item("D08", _ERROR, _ALWAYS, "workspace ids unique",
         "no two users, and no two mappings, have the same workspace_id", _ROWS),
    Item("D09", _ERROR, _ALWAYS, "workspace ids equal", "users and workspace_mappings say the same workspace_id", _ROWS),
    Item("D10", _ERROR, _GATE, "mappings", "every user has one mapping, and every mapping a user", _ROWS),
    Item("D11", _WARNING, _GATE, "workspace types",
         "a workspace is of type lawyer if its user is one by role, else admin, else user", _ROWS),
    Item("D12", _WARNING, _GATE, "level details",
         "every lawyer has level details, nobody else has, and they start at level 1", _ROWS),
    Item("D13", _WARNING, _GATE, "case counts",
         "completed cases and success rate of a lawyer are those of the table cases", _ROWS),
    Item("D14", _WARNING, _GATE, "credits", "every credit user has a credit a week, nobody else has any", _ROWS),
    Item("D15", _WARNING, _GATE, "account types",
         "account_type is the workspace_type of ACTIVE users, pending for the others", _ROWS),
    Item("D16", _ERROR, _ALWAYS, "orphans", "every foreign key leads to a row", _ROWS),
    Item("D17", _ERROR, _ALWAYS, "no nulls", "no promised column holds NULL where it may not", _ROWS),
    Item("D18", _WARNING, _ALWAYS, "users without a role",
         "every user holds one of the roles that the migration knows",
         Phrase("give them a role, then a mapping of its type")),
    Item("D19", _WARNING, _ALWAYS, "roles of one name",
         "no two roles of a tenant have the same name but for case",
         Phrase("merge them: who holds which of them decides what a user is")),
    Item("D20", _ERROR, _ALWAYS, "JSON shapes",
         "JSON columns hold objects and arrays of the shape that their readers count on", _ROWS),
    Item("D21", _WARNING, _GATE, "origin of users",
         "users that the run found are registered from the web, and verified only if asked", _ROWS),
    Item("D22", _ERROR, _ALWAYS, "history",
         "every row of the runs' history is as it was written, none is missing",
         Phrase("somebody has edited lawsker_db.migration_run: ask who")),
    Item("D23", _WARNING, _ALWAYS, "origin",
         "all runs on record were made in this database, not in one that it is a copy of",
         Phrase("nothing, when this is a copy")),
    Item("B01", _ERROR, _ALWAYS, "levels rise",
         "levels have no gap, the first needs nothing, every threshold and limit rises",
         Phrase("mend lawyer_levels: a lawyer's level would otherwise be undefined")),
    Item("B02", _ERROR, _ALWAYS, "levels bounded", "a level 0 and a level 11 are refused", _MEND),
    Item("B03", _ERROR, _ALWAYS, "levels once", "a second level 3 is refused", _MEND),
    Item("B04", _ERROR, _ALWAYS, "good values accepted", "for every CHECK a good value is accepted", _MEND),
    Item("B05", _ERROR, _ALWAYS, "bad values refused", "for every CHECK a bad value is refused, by that CHECK", _MEND),
    Item("B06", _ERROR, _ALWAYS, "second rows refused", "for every UNIQUE a second row is refused, by that UNIQUE", _MEND),
    Item("B07", _ERROR, _ALWAYS, "updated_at moves",
         "an UPDATE moves updated_at on every table that has our trigger", _MEND),
    Item("B08", _ERROR, _ALWAYS, "created_at stays", "an UPDATE does not move created_at", _MEND),
    Item("B09", _ERROR, _ALWAYS, "deletes act", "every foreign key does on DELETE what it promises", _MEND),
    Item("B10", _ERROR, _ALWAYS, "points add up",
         "points after are points before and the change, in every transaction", _ROWS),
    Item("B11", _ERROR, _ALWAYS, "credits", "no balance of credits is below 0, and one that would be is refused", _ROWS),
    Item("B12", _ERROR, _ALWAYS, "suspensions",
         "a lawyer has one active suspension at most, and a second is refused", _ROWS),
    Item("B13", _ERROR, _ALWAYS, "periods", "every period ends at or after its start, and another is refused", _ROWS),
    Item("B14", _WARNING, _ALWAYS, "packages grow",
         "from basic to custom, packages grow in fee, volume and credits, and answer sooner",
         Phrase("look at enterprise_service_packages: a dearer package must not give less")),
    Item("B15", _ERROR, _ALWAYS, "old inserts", "users and cases are inserted as the old application does it", _MEND),
    Item("P01", _ERROR, _ALWAYS, "indexes used",
         "the planner can use every promised index for its look-up",
         Phrase("REINDEX INDEX CONCURRENTLY …, or look at the index's definition")),
    Item("P02", _WARNING, _ALWAYS, "statistics", "tables that the run filled or rewrote have fresh statistics", "ANALYZE"),
    Item("P03", _WARNING, _GATE, "plans",
         "queries on older tables have plans of no worse shape or cost than before the run",
         Phrase("ANALYZE, then look at the plan: EXPLAIN …")),
    Item("P04", _WARNING, _ALWAYS, "growth",
         "users has not grown beyond its new columns, and holds few dead rows",
         Phrase("VACUUM users, at a quiet hour")),
    Item("P05", _WARNING, _GATE, "others' waits",
         "no lock of the run kept others waiting too long, and no standby lags",
         Phrase("look at the run's report, and at pg_stat_replication")),
)  # fmt: skip
ITEMS: Mapping[str, Item] = {item.code: item for item in CHECKLIST}


def passed(code: str, found: str = Phrase("so it is")) -> Check:
    """Pure. The finding of a check that holds."""
    item = ITEMS[code]
    return replace(_finding(item), ok=True, found=found)


def violated(code: str, keys: tuple[str, ...], *, count: int | None = None, warning: bool = False) -> Check:
    """Pure. The finding of a check that does not hold: `keys` name what offends, `count` how many there are in all.

    `warning` makes a lesser thing of an error where that is known to be one (an adopted baseline may differ).
    """
    item = ITEMS[code]
    return replace(
        _finding(item),
        ok=False,
        found=first_of(keys, SHOWN, "; ", number=count),
        detail=joined(keys, "\n"),
        keys=keys[:SHOWN],
        hint=item.hint,
        warning=warning or _is_warning(item),
    )


def not_run(code: str, why: str) -> Check:
    """Pure. The finding of a check that was left out, which is never "passed" and stops nobody."""
    return replace(_finding(ITEMS[code]), found=Phrase("NOT RUN: {why}", why=why), warning=True)


def unknown(code: str, why: str) -> Check:
    """Pure. The finding of a check that was tried and gave no answer: as grave as a violation."""
    return replace(_finding(ITEMS[code]), found=Phrase("could not be checked: {why}", why=why), hint=_TRY_AGAIN)


def _finding(item: Item) -> Check:
    """Pure. What every finding of a check has; of this one nothing is known yet."""
    title, expected = Phrase(item.title), Phrase(item.expected)
    return Check(code=item.code, name=title, ok=None, expected=expected, found="", warning=_is_warning(item))


def _is_warning(item: Item) -> bool:
    return item.severity is Severity.WARNING
