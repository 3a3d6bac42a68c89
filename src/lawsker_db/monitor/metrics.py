"""A look as metrics: Prometheus's text format (0.0.4), in a file that node_exporter's textfile collector reads.

What was not seen is left out: a metric that is missing is no zero. Names and help are English in every language.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from lawsker_db.monitor.sample import Sample
from lawsker_db.monitor.watching import Look
from lawsker_db.postgres.replication import Standby
from lawsker_db.record.journal import write_atomically

READABLE = 0o644  # the collector runs as another user
PREFIX = "lawsker_db_"
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric and its values by labels. The name, without prefix, ends in the unit; a counter's in `_total`."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    values: tuple[tuple[Labels, float], ...]


def write_metrics(path: Path, look: Look) -> str:
    """Write the metrics of a look so that whoever reads meanwhile sees the old file or the new one, whole. Returns what went
    wrong, empty when nothing did: that ends no watch. The file that is renamed does not end in .prom until it is whole."""
    try:
        write_atomically(path, render_metrics(look).encode(errors="backslashreplace"), mode=READABLE)
    except OSError as failed:
        return failed.strerror or str(failed)
    return ""


def render_metrics(look: Look) -> str:
    """Pure. The metrics of a look as text."""
    lines: list[str] = []
    for metric in metrics_of(look):
        name = f"{PREFIX}{metric.name}"
        lines += [f"# HELP {name} {_help(metric.help)}", f"# TYPE {name} {metric.kind}"]
        lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in metric.values]
    return "\n".join(lines) + "\n"


def metrics_of(look: Look) -> tuple[Metric, ...]:
    """Pure. The metrics of a look that have a value."""
    sample = look.sample
    found = (
        *_of_the_look(sample),
        *_of_the_new_system(sample),
        *_of_sessions(sample),
        *_of_counters(look),
        *_of_storage(sample),
        *_of_replication(sample),
        *_of_the_run(sample),
        _problems(look),
    )
    return tuple(metric for metric in found if metric.values)


def _one(name: str, text: str, value: float | None, kind: Literal["gauge", "counter"] = "gauge") -> Metric:
    """Pure. A metric without labels; one without a value when that was not seen."""
    return Metric(name=name, kind=kind, help=text, values=() if value is None else (((), float(value)),))


def _many(
    name: str,
    text: str,
    values: Iterable[tuple[Labels, float | None]],
    kind: Literal["gauge", "counter"] = "gauge",
) -> Metric:
    known = tuple((labels, float(value)) for labels, value in values if value is not None)
    return Metric(name=name, kind=kind, help=text, values=known)


def _of_the_look(sample: Sample) -> Iterator[Metric]:
    yield _one("up", "1 when the database answered, 0 when it did not.", float(sample.reachable))
    yield _one("sample_timestamp_seconds", "When this was seen; stale when the monitor has ended.", _epoch(sample.at))
    yield _one("sample_duration_seconds", "How long the whole look took.", sample.took_s)
    yield _one("away_seconds", "For how long the database has not answered by now.", sample.away_s)
    yield _one("latency_seconds", "One question and its answer on an open connection.", sample.latency_s)


def _of_the_new_system(sample: Sample) -> Iterator[Metric]:
    server, stamp, integrity = sample.server, sample.stamp, sample.integrity
    if server is not None:
        labels = (("database", server.database), ("revision", ", ".join(stamp.current) if stamp else ""))
        version = f"{server.version // 10000}.{server.version % 10000}"
        yield _many("info", "The database that is watched.", [((*labels, ("server_version", version)), 1.0)])
        yield _one("in_recovery", "1 when the server is a standby.", float(server.in_recovery))
    if stamp is not None:
        yield _one("pending_revisions", "Revisions between the stamp and the head of the chain.", stamp.pending)
        yield _one("revision_known", "1 when the chain has the revision of the stamp.", float(stamp.known))
    if integrity is not None:
        yield _one("promised_tables", "Tables that the contracts promise.", len(integrity.promised))
        yield _one("promised_tables_missing", "Promised tables that are not there.", len(integrity.missing))


def _of_sessions(sample: Sample) -> Iterator[Metric]:
    sessions, waits = sample.sessions, sample.waits
    transactions = sample.transactions if sample.shows_all else None
    if sessions is not None:
        states = [((("state", state),), count) for state, count in sorted(sessions.by_state.items())]
        yield _many("sessions", "Sessions of this database by state.", states)
        yield _one("connections", "Client connections of all databases of the server.", sessions.everywhere)
        yield _one("connections_limit", "max_connections.", sessions.limit)
    if transactions is not None:
        ages = [one.age_s for one in transactions]
        idle = [one.idle_s for one in transactions if one.idle_s is not None]
        yield _one("longest_transaction_seconds", "Age of the oldest open transaction.", max(ages, default=0.0))
        yield _one("longest_idle_in_transaction_seconds", "Longest idle in transaction.", max(idle, default=0.0))
    if waits is not None:
        yield _one("waiting_sessions", "Sessions that wait for a lock.", len(waits))
        yield _one("longest_wait_seconds", "Longest wait for a lock.", max((w.waited_s for w in waits), default=0.0))
    if sample.prepared is not None:
        yield _one("prepared_transactions", "Prepared transactions.", len(sample.prepared))


def _of_counters(look: Look) -> Iterator[Metric]:
    yield _one("cache_hit_ratio", "Share of blocks found in shared buffers since the last look.", look.rates.cache_hits)
    counters = look.sample.counters
    if counters is None:
        return
    outcomes = [((("outcome", "commit"),), counters.commits), ((("outcome", "rollback"),), counters.rollbacks)]
    yield _many("transactions_total", "Transactions that ended.", outcomes, "counter")
    yield _one("blocks_hit_total", "Blocks found in shared buffers.", counters.blocks_hit, "counter")
    yield _one("blocks_read_total", "Blocks read from outside of shared buffers.", counters.blocks_read, "counter")
    yield _one("deadlocks_total", "Deadlocks.", counters.deadlocks, "counter")
    yield _one("temp_written_bytes_total", "Bytes written to temporary files.", counters.temp_bytes, "counter")
    yield _one("wal_written_bytes_total", "WAL of the server, on a standby as replayed.", counters.wal_bytes, "counter")


def _of_storage(sample: Sample) -> Iterator[Metric]:
    yield _one("size_bytes", "Size of the database.", sample.database_bytes)
    relations, upkeep = sample.relations, sample.upkeep
    if relations is not None:
        largest = [((("table", one.name),), one.bytes) for one in relations.largest]
        yield _one("tables", "Tables.", relations.tables)
        yield _one("indexes", "Indexes.", relations.indexes)
        yield _many("largest_table_bytes", "The largest tables, as of their last VACUUM or ANALYZE.", largest)
    if sample.invalid_indexes is not None:
        yield _one("invalid_indexes", "Indexes that are not valid.", len(sample.invalid_indexes))
    if upkeep is not None:
        yield _one("dead_rows", "Dead rows of all tables.", upkeep.dead)
        yield _one("transaction_id_age", "Age of the oldest transaction id, in transactions.", upkeep.xid_age)
        yield _one("multixact_age", "Age of the oldest multixact, in multixacts.", upkeep.multixact_age)
        at = None if upkeep.autovacuumed is None else _epoch(upkeep.autovacuumed)
        yield _one("last_autovacuum_timestamp_seconds", "When autovacuum last finished a table here.", at)
    disks = sample.disks or ()
    free = [((("folder", disk.folder),), disk.free) for disk in disks]
    yield _many("disk_free_bytes", "Free on the disk of the database and its WAL.", free)
    yield _many("disk_size_bytes", "Size of that disk.", [((("folder", disk.folder),), disk.total) for disk in disks])


def _of_replication(sample: Sample) -> Iterator[Metric]:
    replication = sample.replication
    if replication is None:
        return
    # Two standbys may bear one name at one address: both would be values of the same labels.
    standbys: dict[Labels, Standby] = {}
    for one in replication.standbys:
        standbys[("application", one.application), ("address", one.address)] = one
    lag = [(labels, one.lag_bytes) for labels, one in standbys.items()]
    age = [(labels, one.lag_s) for labels, one in standbys.items()]
    slots = [
        ((("slot", one.name), ("active", str(one.active).lower())), one.retained_bytes) for one in replication.slots
    ]
    yield _many("standby_lag_bytes", "WAL that a standby has not replayed.", lag)
    yield _many("standby_lag_seconds", "Age of that WAL.", age)
    yield _many("slot_retained_bytes", "WAL that is kept for a replication slot.", slots)
    yield _one("replay_lag_bytes", "WAL that this standby has received and not replayed.", replication.behind_bytes)


def _of_the_run(sample: Sample) -> Iterator[Metric]:
    run = sample.run
    yield _one("run_in_progress", "1 while a run goes on.", float(run is not None or bool(sample.holders)))
    if run is not None:
        labels = (("run_id", run.run_id), ("phase", run.phase))
        yield _many("run_info", "The run that goes on.", [(labels, 1.0)])
        yield _one("run_left_seconds", "What is left of its phase, by estimate.", run.left_s)
    yield _one("runs_ended_silently", "Runs that ended and did not say how.", len(sample.ended_runs))


def _problems(look: Look) -> Metric:
    counted: Counter[Labels] = Counter()
    for problem in look.problems:
        counted[("code", problem.code), ("severity", problem.severity.value)] += 1
    return _many("problems", "Problems by rule; none, and there is no line.", counted.items())


def _epoch(moment: datetime) -> float:
    return moment.timestamp()


def _number(value: float) -> str:
    """Pure. A float that says whole numbers exactly, as the format wants them."""
    return str(int(value)) if value.is_integer() else repr(value)


def _labels(labels: Labels) -> str:
    """Pure. Labels with their values escaped: names come out of databases."""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}" if labels else ""


def _escaped(value: str) -> str:
    """Pure. As the format has label values: backslash, quote and line feed. Whatever else ends a line for somebody is said
    as an escape of ours."""
    plain = "".join(char if char == "\n" or not char.isspace() or char == " " else ascii(char)[1:-1] for char in value)
    return plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
