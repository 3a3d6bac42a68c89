"""Standbys and replication slots: how far behind, and what WAL is kept for them. For a monitor; nothing is locked."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

# What a primary has written, a standby received: from there on lag and retained WAL are counted.
_HERE = """
    (SELECT CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
        ELSE pg_current_wal_lsn() END AS lsn) w"""
_STANDBYS = f"""
    SELECT coalesce(r.application_name, '') AS application, coalesce(host(r.client_addr), 'this host') AS address,
        r.state, r.sync_state, (w.lsn - r.replay_lsn)::bigint AS lag_bytes,
        extract(epoch FROM r.replay_lag)::float8 AS lag_s
    FROM pg_stat_replication r, {_HERE} WHERE r.state IS DISTINCT FROM 'backup' ORDER BY 1, 2, r.pid"""
_SLOTS = f"""
    SELECT s.slot_name AS name, s.slot_type AS kind, s.active, coalesce(s.database, '') AS database,
        (w.lsn - s.restart_lsn)::bigint AS retained_bytes, coalesce(to_jsonb(s) ->> 'wal_status', '') AS wal_status
    FROM pg_replication_slots s, {_HERE} WHERE NOT s.temporary ORDER BY 1"""
_OWN = """
    SELECT (CASE WHEN NOT pg_is_in_recovery() THEN NULL
            ELSE pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn() END)::bigint AS behind_bytes,
        CASE WHEN pg_is_in_recovery() AND pg_last_wal_receive_lsn() <> pg_last_wal_replay_lsn()
            THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8
            WHEN pg_is_in_recovery() THEN 0 END AS behind_s,
        current_setting('synchronous_standby_names') AS synchronous,
        (SELECT setting::bigint * CASE unit WHEN 'MB' THEN 1048576 ELSE 1 END FROM pg_settings
            WHERE name = 'max_wal_size') AS max_wal_bytes,
        (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size') AS segment_bytes"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standby:
    """A standby or subscriber that is connected: WAL that it has not replayed yet in bytes, and how long ago that was
    written in seconds (None while it has replayed everything). None is also what this role may not see."""

    application: str
    address: str
    state: str | None
    sync_state: str | None
    lag_bytes: int | None
    lag_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A replication slot, and the WAL that the server keeps for it in bytes (None: none yet, or all of it is lost).
    `wal_status` is empty before PostgreSQL 13."""

    name: str
    kind: str
    active: bool
    database: str
    retained_bytes: int | None
    wal_status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """Who copies this server, and, where it is a standby itself, how far it is behind what it has received (None on a
    primary). `synchronous` is synchronous_standby_names, empty where COMMIT waits for nobody."""

    standbys: tuple[Standby, ...]
    slots: tuple[Slot, ...]
    behind_bytes: int | None
    behind_s: float | None
    synchronous: str
    max_wal_bytes: int
    segment_bytes: int


def read_replication(conn: Connection) -> Replication:
    """Standbys and slots. Reads pg_stat_replication, pg_replication_slots and settings."""
    return Replication(
        standbys=tuple(Standby(**row) for row in conn.execute(text(_STANDBYS)).mappings()),
        slots=tuple(Slot(**row) for row in conn.execute(text(_SLOTS)).mappings()),
        **conn.execute(text(_OWN)).mappings().one(),
    )
