"""The trials of revision 013 are closed-world: no CHECK, UNIQUE, key or trigger of its contract goes untried."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from lawsker_db.contract import Contract, Extension, Table
from lawsker_db.revisions import contracts_up_to, load_chain
from lawsker_db.safety.checklist import ITEMS

CATALOG_ONLY = {"D01", "D02", "D16", "D17", "D22", "D23"}  # found without any contract
BY_QUERY = {"B01", "B10", "B11", "B12", "B13", "B14"}


@pytest.fixture(scope="module")
def contract() -> Contract:
    return contracts_up_to(load_chain(), ("013",))[-1]


def test_every_check_has_a_trial_with_good_and_bad_values(contract: Contract) -> None:
    parts: list[Table | Extension] = [*contract.tables, *contract.extensions]
    promised = [check.name for part in parts for check in part.checks]
    assert Counter(trial.constraint for trial in contract.trials) == Counter(promised)
    assert all(trial.good and trial.bad for trial in contract.trials)


def test_every_key_and_unique_has_a_twin(contract: Contract) -> None:
    promised = [f"{table.name}_pkey" for table in contract.tables]
    parts: list[Table | Extension] = [*contract.tables, *contract.extensions]
    promised += [unique.name for part in parts for unique in part.unique]
    promised += [index.name for part in parts for index in part.indexes if index.unique]
    assert Counter(twin.constraint for twin in contract.twins) == Counter(promised)


def test_every_table_has_a_sample_that_names_its_key_and_uses_its_foreign_keys(contract: Contract) -> None:
    first = {sample.table: dict(sample.values) for sample in reversed(contract.samples)}
    for table in contract.tables:
        assert {*table.primary_key, *(column for key in table.foreign_keys for column in key.columns)} <= set(
            first[table.name]
        )


def test_samples_of_older_tables_name_no_new_column(contract: Contract) -> None:
    new = {(extension.table, column.name) for extension in contract.extensions for column in extension.columns}
    assert {(sample.table, column) for sample in contract.samples for column, _ in sample.values} & new == set()
    assert {"users", "cases"} <= {sample.table for sample in contract.samples}


def test_names_in_values_are_names_of_samples(contract: Contract) -> None:
    names = Counter(sample.name for sample in contract.samples)
    assert set(names.values()) == {1}
    rows = [sample.values for sample in contract.samples]
    rows += [row for trial in contract.trials for row in (*trial.good, *trial.bad)]
    rows += [row for twin in contract.twins for row in (twin.first, twin.second)]
    used = {name for row in rows for _, value in row for name in re.findall(r"<(\w+)>", value)}
    assert used <= {*names, "second"}
    assert {trial.sample for trial in contract.trials} | {twin.sample for twin in contract.twins} <= set(names)


def test_invariants_carry_the_codes_of_the_list_and_names_of_their_own(contract: Contract) -> None:
    codes = {code for invariant in contract.invariants for code in (invariant.code, *invariant.also)}
    assert codes == ({code for code in ITEMS if code.startswith("D")} - CATALOG_ONLY) | BY_QUERY
    assert len({invariant.name for invariant in contract.invariants}) == len(contract.invariants)
    assert {code for code in (*(t.code for t in contract.trials), *(t.code for t in contract.twins)) if code} <= set(
        ITEMS
    )
