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
from lawsker_db.safety.adoption import adopt
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.safety.verification import VerifyOptions, verify
from lawsker_db.target import parse_target

DATABASE = "lawsker"


def demonstrate(*, users: int, runs: Path, keep: bool, as_json: bool) -> None:
    """Run the main road on a server that is gone afterwards. Raises what the steps raise."""
    with without_postgres_variables(), throwaway_server() as server:
        say(f"PostgreSQL {server.binaries.version} from {server.binaries.origin}, on a socket of its own")
        with parse_target(server.url("postgres")).connect(autocommit=True) as conn:
            conn.exec_driver_sql(f"CREATE DATABASE {DATABASE}")
        say(f"$ load the sample database: {users} users")
        load_sample(server.url(DATABASE), users=users)
        target = parse_target(server.url(DATABASE))
        say("$ lawsker-db adopt --yes")
        adoption = adopt(target)
        say(f"stamped {', '.join(adoption.stamped_now)}; {len(adoption.extras)} extra objects left alone")
        say("$ lawsker-db safe-upgrade --yes")
        with progress(as_json=False) as on_event:
            report = safe_upgrade(target, options=UpgradeOptions(runs=runs), on_event=on_event)
        show_report(report, as_json=as_json)
        say("$ lawsker-db verify")
        checks = verify(target, options=VerifyOptions(runs=runs))
        failed = failures(checks)
        speak = say if as_json else tell
        speak(f"Verified: {summary(checks)}.")
        if keep and sys.stdin.isatty():
            say(f"The server is up. DATABASE_URL={server.url(DATABASE)}  Enter stops it.")
            sys.stdin.readline()
        if failed:
            raise CommittedUnproven(f"{failed[0].name}: {failed[0].found}", hint="report this: the demo must pass")
    say("The throwaway server is stopped and removed; the run's folder is kept.")
