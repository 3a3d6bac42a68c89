"""The guarded transaction of a run that keeps an account, begun again where that may help."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from lawsker_db.errors import RolledBack
from lawsker_db.evidence import Event, OnEvent, Phase
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.catalog import Catalog
from lawsker_db.postgres.meter import counted
from lawsker_db.postgres.session import require_same
from lawsker_db.revisions import Chain, run_steps
from lawsker_db.safety.account import Account, ending
from lawsker_db.safety.guard import RunOptions, migration_transaction
from lawsker_db.safety.pace import timed

TRIES = 3
PASSING = ("40001", "40P01")  # serialization_failure, deadlock_detected (manual, "Serialization Failure Handling")
PAUSE_S = (0.5, 2.0)
TOLD_EACH_S = 0.5  # a display shows no more, and the transaction has other things to do


def carry_out(account: Account, chain: Chain, run: RunOptions, words: str) -> Catalog:
    """Run the account's plan in the guarded transaction, which is begun again when it was the victim of a deadlock or could
    not be serialized: nothing of it is left then, and the same statements may do well.

    Returns the catalog as the gate saw it last, for the look afterwards. Raises as `migration_transaction`.
    """
    tried = 0
    while True:
        tried += 1
        try:
            return _carry_out_once(account, chain, run, words)
        except RolledBack as failed:
            if failed.fields.get("sqlstate") not in PASSING or tried == TRIES:
                raise
            again = Phrase(
                "rolled back, and begun again (try {tried} of {tries}): {message}",
                tried=tried + 1,
                tries=TRIES,
                message=failed.message,
            )
            run.on_event(Event(phase=Phase.MIGRATION, name="begun again", text=again))
            time.sleep(random.uniform(*PAUSE_S))  # noqa: S311 - jitter, not a secret


def _carry_out_once(account: Account, chain: Chain, run: RunOptions, words: str) -> Catalog:
    plan, target, tell = account.plan, account.target, run.on_event
    with timed(account, Phase.MIGRATION, tell, words), ending(account), target.connect() as conn:
        require_same(conn, account.server)
        conn.rollback()
        with counted(conn, _counting(account, tell)), migration_transaction(conn, target, plan, run) as guarded:
            account.guarded = guarded
            run_steps(conn, chain, plan, guarded.gate)
        tell(Event(phase=Phase.COMMIT, name="committed", text=Phrase("committed"), facts={"run_id": account.run_id}))
    return guarded.gate.catalog


def _counting(account: Account, tell: OnEvent) -> Callable[[int], None]:
    """What says now and then how far the transaction has come, of as many statements as the rehearsal had."""
    whole = account.rehearsal.statement_count if account.rehearsal else 0
    said = time.monotonic()

    def count(number: int) -> None:
        nonlocal said
        if not whole or time.monotonic() - said < TOLD_EACH_S:
            return
        said = time.monotonic()
        facts = {"statements": min(number, whole), "of": whole}
        tell(Event(phase=Phase.MIGRATION, name="progress", text="", facts=facts, lasting=False))

    return count
