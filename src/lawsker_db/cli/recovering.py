"""`lawsker-db recover`: what became of runs that were killed or lost their server, and what they left."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lawsker_db.cli.options import Direct, Json, Reconnect, Runs, Url, plain
from lawsker_db.phrases import Phrase

if TYPE_CHECKING:
    from lawsker_db.safety.recovery import Recovered, Settled


def recover(
    database_url: Url = None,
    direct_url: Direct = None,
    runs: Runs = Path("lawsker-runs"),
    reconnect: Reconnect = 60.0,
    as_json: Json = False,
) -> None:
    """Settle what killed runs left, by their journals in the runs folder: a closed gate is opened, the outcome of a COMMIT
    found out, sessions ended, scratch databases dropped, unfinished backups removed.

    No row of the database is changed. Exits 0 when all is settled, 12 while an outcome cannot be told, 10 when the server
    does not let it end what is left.
    """
    from lawsker_db.cli.render import print_json
    from lawsker_db.errors import OutcomeUnknown, Refused
    from lawsker_db.safety.recovery import recover as settle_runs
    from lawsker_db.target import find_target

    found = settle_runs(find_target(database_url, direct_url), runs, reconnect_s=reconnect)
    if as_json:
        print_json({"settled": found.settled, **plain(asdict(found))})
    else:
        _show(found)
    if not found.settled:
        raise typer.Exit(OutcomeUnknown.exit_code)
    if found.left:
        raise typer.Exit(Refused.exit_code)


def _show(found: Recovered) -> None:
    """What was done, a line each, and what to type next."""
    from lawsker_db.cli.render import tell

    for name in found.reopened:
        tell(Phrase("Opened:  database {name} lets connections in again", name=name))
    for name in found.shut:
        tell(Phrase("Closed:  damaged database {name}", name=name))
    for run in found.runs:
        tell(run_text(run))
    for pid in found.ended:
        tell(Phrase("Ended:   server process {pid}", pid=pid))
    for name in found.dropped:
        tell(Phrase("Dropped: scratch database {name}", name=name))
    for path in found.removed:
        tell(Phrase("Removed: {path}", path=str(path)))
    if found.elsewhere:
        tell(
            Phrase(
                "Left alone: {number} runs of other databases; name those with --database-url",
                number=found.elsewhere,
            )
        )
    if any(run.outcome == "inconsistent" for run in found.runs):
        tell(Phrase("NOT SETTLED: the server contradicts itself about a run."))
        tell(Phrase("Next: change nothing more, and have somebody look at the server's log and the run's journal"))
        return
    if not found.settled:
        tell(Phrase("NOT SETTLED: the outcome of a run cannot be told yet."))
        tell(Phrase("Next: when the server is back and at rest, lawsker-db recover"))
        return
    if found.left:
        tell(
            Phrase(
                "NOT SETTLED: server processes of ended runs could not be ended: {pids}",
                pids=", ".join(map(str, found.left)),
            )
        )
        tell(Phrase("Next: as a role that may (theirs, or one with pg_signal_backend), lawsker-db recover"))
        return
    committed = any(run.outcome == "committed" for run in found.runs)
    tell(Phrase("SETTLED: no run is open, nothing is left lying about."))
    tell(Phrase("Next: {hint}", hint="lawsker-db verify" if committed else "lawsker-db status"))


def run_text(run: Settled) -> Phrase:
    """Pure. What became of a run, and how that is known."""
    return Phrase(
        "Run {run_id}: {outcome}: {reason}", run_id=run.run_id, outcome=Phrase(run.outcome.value), reason=run.reason
    )
