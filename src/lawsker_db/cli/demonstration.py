"""`lawsker-db demo`: the real commands on a throwaway server, each line as an operator would type it."""

from __future__ import annotations

import sys
from pathlib import Path

from lawsker_db.cli.progress import progress
from lawsker_db.cli.render import say, show_report, tell
from lawsker_db.cli.verifying import summary
from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import throwaway_server, without_postgres_variables
from lawsker_db.errors import CommittedUnproven
from lawsker_db.evidence import failures
from lawsker_db.phrases import Phrase, joined
from lawsker_db.safety.adoption import adopt
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.safety.verification import VerifyOptions, verify
from lawsker_db.target import parse_target

DATABASE = "lawsker"


def demonstrate(*, users: int, runs: Path, keep: bool, as_json: bool) -> None:
    """Run the main road on a server that is gone afterwards. Raises what the steps raise."""
    with without_postgres_variables(), throwaway_server() as server:
        say(
            Phrase(
                "PostgreSQL {version} from {origin}, on a socket of its own",
                version=server.binaries.version,
                origin=server.binaries.origin,
            )
        )
        with parse_target(server.url("postgres")).connect(autocommit=True) as conn:
            conn.exec_driver_sql(f"CREATE DATABASE {DATABASE}")
        say(Phrase("loading the sample database: {users} users", users=users))
        load_sample(server.url(DATABASE), users=users)
        target = parse_target(server.url(DATABASE))
        say("$ lawsker-db adopt --yes")
        adoption = adopt(target)
        say(
            Phrase(
                "stamped {revisions}; {number} extra objects left alone",
                revisions=", ".join(adoption.stamped_now),
                number=len(adoption.extras),
            )
        )
        say("$ lawsker-db safe-upgrade --yes")
        with progress(as_json=False) as on_event:
            report = safe_upgrade(target, options=UpgradeOptions(runs=runs), on_event=on_event)
        show_report(report, as_json=as_json)
        say("$ lawsker-db verify")
        checks = verify(target, options=VerifyOptions(runs=runs))
        failed = failures(checks)
        speak = say if as_json else tell
        speak(Phrase("Verified: {summary}.", summary=summary(checks)))
        warned = [one for one in checks if one.warning and one.ok is False]
        if warned:
            names = joined(Phrase("{code} {name}", code=one.code, name=one.name) for one in warned)
            speak(Phrase("The warnings, which the report explains: {names}", names=names))
        if keep and sys.stdin.isatty():
            say(Phrase("The server is up. DATABASE_URL={url}  Enter stops it.", url=server.url(DATABASE)))
            sys.stdin.readline()
        if failed:
            raise CommittedUnproven(
                joined((failed[0].name, failed[0].found), ": "), hint=Phrase("report this: the demo must pass")
            )
    say(Phrase("The throwaway server is stopped and removed; the run's folder is kept."))
