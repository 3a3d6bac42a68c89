"""Small values that decide much: exit codes, which client fits which server, the digest of a contract."""

from __future__ import annotations

import inspect

import pytest

from lawsker_db import errors
from lawsker_db.contract import Column, Contract, Table, contract_digest
from lawsker_db.errors import LawskerError
from lawsker_db.evidence import Check, failures
from lawsker_db.postgres.tools import fits

# DESIGN §6, written down a second time.
EXIT_CODES = {
    "LawskerError": 1,
    "UsageError": 2,
    "Refused": 10,
    "Unreachable": 10,
    "BackupFailed": 10,
    "RolledBack": 11,
    "GateRefused": 11,
    "RevisionFailed": 11,
    "LockNotObtained": 11,
    "OutcomeUnknown": 12,
    "CommittedUnproven": 13,
    "Busy": 15,
    "Interrupted": 130,
}
UNTOUCHED = (2, 10, 15)
KINDS = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, LawskerError) and kind.__module__ == errors.__name__
}


def test_every_error_has_the_exit_code_of_the_design() -> None:
    assert {name: kind.exit_code for name, kind in KINDS.items() if name in EXIT_CODES} == EXIT_CODES
    assert {kind.exit_code for kind in KINDS.values()} <= {1, 2, 10, 11, 12, 13, 14, 15, 16, 130}


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_error_says_what_state_the_database_is_in_and_what_to_type(name: str) -> None:
    kind = KINDS[name]
    raised = kind("It failed.", hint="type this", sqlstate="42501")
    assert inspect.getdoc(kind)
    assert str(raised) == f"It failed.\n{raised.state}\nNext: type this"
    assert raised.fields == {"sqlstate": "42501"}
    assert kind("It failed.", hint="type this", state="another").state == "another"
    words = {11: "as it was", 12: "not known", 13: "committed", 130: "as it was"}
    expected = "not changed" if kind.exit_code in (1, *UNTOUCHED) else words.get(kind.exit_code, "")
    assert expected in raised.state


@pytest.mark.parametrize("server", range(12, 19))
def test_a_client_fits_when_it_can_dump_the_server_and_restore_into_it(server: int) -> None:
    """Measured: client 16 serves 12 to 16, client 18 serves 17 and 18; an older client than the server never fits."""
    for client in range(9, 21):
        newest = 16 if server <= 16 else 99
        assert fits(client, server) == (server <= client <= newest), (client, server)


def test_a_contracts_digest_is_of_all_that_it_promises() -> None:
    column = Column("id", "bigint")
    table = Table(name="t", group="g", columns=(column,), primary_key=("id",))
    contract = Contract(revision="013", follows="012", tables=(table,))
    digest = contract_digest((contract,))
    assert digest == contract_digest((Contract(revision="013", follows="012", tables=(table,)),))
    changed = Table(name="t", group="g", columns=(column,), primary_key=("id",), rows=1)
    others = (
        (),
        (contract, contract),
        (Contract(revision="013", follows="012"),),
        (Contract(revision="013", follows="011", tables=(table,)),),
        (Contract(revision="013", follows="012", tables=(changed,)),),
        (Contract(revision="013", follows="012", tables=(table,), reads=("users",)),),
    )
    assert len({digest, *map(contract_digest, others)}) == len(others) + 1


def test_what_could_not_be_checked_has_not_passed() -> None:
    def check(ok: bool | None, *, warning: bool = False) -> Check:
        return Check(name="n", ok=ok, expected="e", found="f", warning=warning)

    unknown, wrong = check(None), check(False)
    assert failures((check(True), unknown, wrong, check(False, warning=True))) == (unknown, wrong)
