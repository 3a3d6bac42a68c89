"""The moment of the swap: what is noted before, what is carried over behind the closed gate, and how it is settled.

Whatever breaks in between, the gate is opened again, and it is looked at from a fresh connection who bears the name.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from lawsker_db.errors import LawskerError, RestoreFailed, RolledBack
from lawsker_db.evidence import Event, OnEvent, Phase
from lawsker_db.phrases import Phrase, clause
from lawsker_db.postgres.databases import beside
from lawsker_db.postgres.locks import RunLock
from lawsker_db.postgres.session import Session, end_sessions, identify, own_session, pinned
from lawsker_db.postgres.swap import (
    GATE_S,
    Swap,
    close_gate,
    end_everybody,
    exchange,
    hand_settings,
    is_swapped,
    let_in,
    lift_sequences,
    read_belongings,
    read_standings,
)
from lawsker_db.record.history import CARRIED, RESTORE, Run, carry_over, read_rows, replacing, write_marker
from lawsker_db.safety.commit import signals_held
from lawsker_db.safety.proof import Copy
from lawsker_db.safety.restore_account import RestoreAccount, swap_unknown
from lawsker_db.target import Target, said_by_server

SETTLE_S = 60.0  # a fast restart or a failover takes less; after that a person should look
POLL_S = 0.5
CLOSED, OPENED, ABOUT = "gate closed", "gate opened", "about to swap"


def swap_in(
    account: RestoreAccount,
    swap: Swap,
    copy: Copy,
    lock: RunLock,
    held: ExitStack,
    tell: OnEvent,
    *,
    settle_s: float = SETTLE_S,
) -> None:
    """Put the copy in the place of the live database. `held` has the RUN lock, which is given back within: no session of
    ours may be in a database that is renamed.

    Nobody can connect from the moment at which the gate closes; everybody's session is ended. Raises `RolledBack` when it
    was given up with the gate open again, `OutcomeUnknown` when that cannot be told.
    """
    place = beside(account.target, account.server)
    with place.connect(autocommit=True) as third, ExitStack() as inside_both:
        live = inside_both.enter_context(account.target.connect())
        inside = inside_both.enter_context(_pinned(copy.target).connect())
        belongings = read_belongings(live)
        hand_settings(inside, swap.copy, belongings.settings)
        inside.commit()
        live.commit()
        watcher, ours = own_session(live), own_session(third)
        live.commit()
        for whose, session in (("look at the live database", watcher), ("swap", ours)):
            facts = {"whose": whose, **asdict(session)}
            tell(Event(phase=Phase.SWAP, name="session", text="", facts=facts))
        with _closed(account, swap, place, ours, tell, settle_s) as until:
            close_gate(third, swap.live)
            end_everybody(third, swap.live_oid, keep=(lock.session.pid, watcher.pid), until=until)
            _carry(account, swap, live, inside)
            inside_both.close()
            held.close()
            end_everybody(third, swap.live_oid, until=until)
            end_everybody(third, swap.copy_oid, until=until)
            exchange(third, swap, belongings, lambda: tell(_event(ABOUT, "", swap)))
            account.swapped = True


@contextmanager
def _closed(
    account: RestoreAccount, swap: Swap, place: Target, ours: Session, tell: OnEvent, settle_s: float
) -> Iterator[float]:
    """The gate, closed for the block; the journal names it first. Gives the time at which one has to give up.

    When the block ends, the journal says who bears the name; when it fails, the gate is opened again before.
    """
    tell(_event(CLOSED, Phrase("nobody can connect to {database} from here on", database=swap.live), swap))
    began = time.monotonic()
    try:
        account.swapped = None
        yield began + GATE_S
    except (DBAPIError, LawskerError) as failed:
        _settle_told(account, swap, place, ours, tell, settle_s, began)
        if account.swapped is None:
            raise swap_unknown(account, _said(failed)) from failed
        if not account.swapped:
            raise _given_back(failed, swap) from failed
        account.notes.append(Phrase("the connection was lost at the swap ({why}); it took place", why=_said(failed)))
    except BaseException:  # an interrupt, or a bug of ours: the gate is opened before it goes on
        _settle_told(account, swap, place, ours, tell, settle_s, began)
        raise
    else:
        _noted(account, swap, began, tell)


def _settle_told(
    account: RestoreAccount, swap: Swap, place: Target, ours: Session, tell: OnEvent, settle_s: float, began: float
) -> None:
    """Settle who bears the name, and say it. A second interrupt waits until then."""
    with signals_held():
        _settle(account, swap, place, ours, settle_s)
        with suppress(RestoreFailed):  # a journal that is full must not hide what went wrong
            _noted(account, swap, began, tell)


def _noted(account: RestoreAccount, swap: Swap, began: float, tell: OnEvent) -> None:
    """Say that the gate is open, for how long it was closed, and who bears the name."""
    closed_s = time.monotonic() - began
    account.figures[Phrase("gate closed, ms")] = round(closed_s * 1000)
    if account.swapped is not None:
        words = Phrase(
            "the gate was closed for {closed_s:.2f} s; {names}",
            closed_s=closed_s,
            names=account.names if account.swapped else Phrase("nothing was renamed"),
        )
        tell(_event(OPENED, words, swap, swapped=account.swapped))


def _carry(account: RestoreAccount, swap: Swap, live: Connection, inside: Connection) -> None:
    """Carry into the copy what the database went on with after the backup and must not lose: how far sequences have counted,
    which runs were made; and the row of this restore. Commits in the copy."""
    standings = read_standings(live)
    rows = _history(account, live)
    live.rollback()
    moved, stuck = lift_sequences(inside, standings)
    lost = not rows and bool(read_rows(inside))  # there was a history at the time of the backup
    made = {CARRIED: carry_over(inside, rows)}
    run = Run(
        run_id=account.run_id,
        direction=RESTORE,
        via=RESTORE,
        from_revisions=account.from_revisions,
        to_revisions=account.manifest.revision,
        steps=replacing(swap.live_oid, swap.damaged),
        backup_id=account.manifest.backup_id,
        rows_made={} if lost else made,
    )
    write_marker(inside, run, identify(inside, sized=False))
    inside.commit()
    account.figures[Phrase("sequences set ahead")] = moved
    account.notes += [
        Phrase("sequence {name} cannot count as far as in the damaged database: look at it", name=name)
        for name in stuck
    ]


def _history(account: RestoreAccount, live: Connection) -> tuple[Mapping[str, object], ...]:
    """The history of the damaged database; none where that is damaged too, which must not keep anybody from a restore."""
    try:
        return read_rows(live)
    except DBAPIError as failed:
        if failed.connection_invalidated:
            raise
        account.notes.append(
            Phrase(
                "the history of runs cannot be read in the damaged database and was not carried over: {why}",
                why=_said(failed),
            )
        )
        return ()


def _settle(account: RestoreAccount, swap: Swap, place: Target, ours: Session, settle_s: float) -> None:
    """Find out who bears the live name, and let connections into that one. Waits for a server that is away for a while.

    Our own session ends first: what it had sent is decided then, and not before.
    """
    deadline = time.monotonic() + settle_s
    while True:
        try:
            with place.connect(autocommit=True) as conn:
                _, left = end_sessions(conn, (ours,))
                account.swapped = None if left else is_swapped(conn, swap)
                if account.swapped is not None:
                    let_in(conn, swap.copy_oid if account.swapped else swap.live_oid, allowed=True)
                    return
        except LawskerError:
            account.swapped = None
        if time.monotonic() > deadline:
            return
        time.sleep(POLL_S)


def _given_back(failed: DBAPIError | LawskerError, swap: Swap) -> LawskerError:
    """Pure. The error that says that nothing was renamed, and that the gate is open again."""
    state = Phrase(
        "Nothing was renamed, the gate is open again: {database} is what it was. Its sessions were ended.",
        database=swap.live,
    )
    if isinstance(failed, RolledBack):
        return RolledBack(failed.message, state=state, hint=failed.hint)
    return RolledBack(
        Phrase("The names were not swapped: {why}.", why=_said(failed)),
        state=state,
        hint=Phrase("mend that, then type it again"),
    )


def _said(failed: DBAPIError | LawskerError) -> str:
    """Pure. What went wrong, without values."""
    if isinstance(failed, LawskerError):
        return clause(failed.message)
    return clause(said_by_server(failed.orig) or Phrase("the connection was lost"))


def _pinned(copy: Target) -> Target:
    with copy.connect() as conn:
        server = identify(conn, sized=False)
        conn.rollback()
    return pinned(copy, server)


def _event(name: str, words: str, swap: Swap, **facts: object) -> Event:
    """An event of the swap. `database_oid` is the database whose gate it is about, for whoever reads the journal later."""
    return Event(
        phase=Phase.SWAP, name=name, text=words, facts={"database_oid": swap.live_oid, **asdict(swap), **facts}
    )
