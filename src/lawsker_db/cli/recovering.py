"""`lawsker-db recover`: what became of runs that were killed or lost their server, and what they left."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lawsker_db.cli.options import Direct, Json, ProofServer, Reconnect, Runs, Url, plain, proof_target
from lawsker_db.phrases import Phrase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lawsker_db.safety.recovery import Recovered, Settled


def recover(
    database_url: Url = None,
    direct_url: Direct = None,
    runs: Runs = Path("lawsker-runs"),
    proof_server: ProofServer = None,
    reconnect: Reconnect = 60.0,
    as_json: Json = False,
) -> None:
    """Settle what killed runs left, by their journals in the runs folder: a closed gate is opened, the outcome of a COMMIT
    found out, sessions ended, scratch databases dropped, unfinished backups removed.

    No row of the database is changed. Exits 0 when all is settled, 12 while an outcome cannot be told, 10 when the server
    does not let it end what is left, or a copy is left on another server: name that with --proof-server.
    """
    from lawsker_db.cli.render import print_json
    from lawsker_db.errors import OutcomeUnknown, Refused
    from lawsker_db.safety.recovery import recover as settle_runs
    from lawsker_db.target import find_target

    target, beside = find_target(database_url, direct_url), proof_target(proof_server)
    found = settle_runs(target, runs, proof_server=beside, reconnect_s=reconnect)
    if as_json:
        print_json({"settled": found.settled, **plain(asdict(found))})
    else:
        _show(found)
    if not found.settled:
        raise typer.Exit(OutcomeUnknown.exit_code)
    if found.left or found.away:
        raise typer.Exit(Refused.exit_code)


def _show(found: Recovered) -> None:
    """What was done, a line each, then whether all is settled, and what to type next."""
    from lawsker_db.cli.render import tell

    for line in (*_done_lines(found), *_ending_lines(found)):
        tell(line)


def _done_lines(found: Recovered) -> Iterator[str]:
    """Pure. What was done, a line each."""
    for name in found.reopened:
        yield Phrase("Opened:  database {name} lets connections in again", name=name)
    for name in found.shut:
        yield Phrase("Closed:  damaged database {name}", name=name)
    yield from map(run_text, found.runs)
    for pid in found.ended:
        yield Phrase("Ended:   server process {pid}", pid=pid)
    for name in found.dropped:
        yield Phrase("Dropped: scratch database {name}", name=name)
    for path in found.removed:
        yield Phrase("Removed: {path}", path=str(path))
    if found.elsewhere:
        number = found.elsewhere
        yield Phrase("Left alone: {number} runs of other databases; name those with --database-url", number=number)
    if found.absent:
        yield Phrase(
            "Not here: the folders of {number} runs that the database's history knows, the newest {run_id}",
            number=len(found.absent),
            run_id=found.absent[-1],
        )


def _ending_lines(found: Recovered) -> Iterator[str]:
    """Pure. Whether all is settled, and what to type next."""
    if any(run.outcome == "inconsistent" for run in found.runs):
        yield Phrase("NOT SETTLED: the server contradicts itself about a run.")
        yield Phrase("Next: change nothing more, and have somebody look at the server's log and the run's journal")
    elif not found.settled:
        yield Phrase("NOT SETTLED: the outcome of a run cannot be told yet.")
        yield Phrase("Next: when the server is back and at rest, lawsker-db recover")
    elif found.left:
        yield from _processes_left(found)
    elif found.away:
        for one in found.away:
            yield Phrase(
                "NOT SETTLED: a copy of this database is left at {place}: DROP DATABASE {database}",
                place=one.place,
                database=one.database,
            )
        yield Phrase(
            "Next: lawsker-db recover --proof-server URL (of that server), which drops it, and notes when it is gone"
        )
    else:
        yield _settled_line(found)
        if not found.read or found.absent:
            yield Phrase("If runs were made elsewhere, type --runs FOLDER: of those nothing is known here.")
        committed = any(run.outcome == "committed" for run in found.runs)
        yield Phrase("Next: {hint}", hint="lawsker-db verify" if committed else "lawsker-db status")


def _settled_line(found: Recovered) -> Phrase:
    """Pure. Of which folder it holds that all is settled, and of how many runs."""
    folder, number = found.folder, found.read
    if not number:
        return Phrase("SETTLED in {folder}: there are no runs there, so none was read.", folder=folder)
    if found.alive:
        return Phrase(
            "SETTLED in {folder}: {number} runs read; still at work, and left alone: {alive}.",
            folder=folder,
            number=number,
            alive=", ".join(found.alive),
        )
    return Phrase(
        "SETTLED in {folder}: {number} runs read, none is open, nothing is left lying about.",
        folder=folder,
        number=number,
    )


def _processes_left(found: Recovered) -> Iterator[Phrase]:
    """Pure. Which server processes are there still, and what lets them go."""
    others = [pid for pid in found.left if pid not in found.at_standby]
    if others:
        yield Phrase(
            "NOT SETTLED: server processes of ended runs could not be ended: {pids}",
            pids=", ".join(map(str, others)),
        )
        yield Phrase("Next: as a role that may (theirs, or one with pg_signal_backend), lawsker-db recover")
        return
    yield Phrase(
        "NOT SETTLED: server processes of ended runs wait for a synchronous standby: {pids}",
        pids=", ".join(map(str, found.at_standby)),
    )
    yield Phrase(
        "Next: bring the standby back, or ALTER SYSTEM RESET synchronous_standby_names and SELECT pg_reload_conf(); then"
        " lawsker-db recover"
    )


def run_text(run: Settled) -> Phrase:
    """Pure. What became of a run, and how that is known."""
    return Phrase(
        "Run {run_id}: {outcome}: {reason}", run_id=run.run_id, outcome=Phrase(run.outcome.value), reason=run.reason
    )
