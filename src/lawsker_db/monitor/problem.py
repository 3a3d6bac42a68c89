"""What a problem is, and from where on something is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lawsker_db.postgres.locks import PATIENCE_S
from lawsker_db.safety.checklist import Severity

ERROR, WARNING = Severity.ERROR, Severity.WARNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From where on something is a problem. `_s` seconds, `_share` 0 to 1.

    Each has its source: `wait_s`: five times deadlock_timeout, after which log_lock_waits would tell of a wait.
    `transaction_s`: who is older outlasts the whole patience of a run for its locks. `idle_s`: what this tool lets its own
    transactions stand idle (session.IDLE_LIMIT); so for prepared ones. `lag_s`: wal_sender_timeout, after which a primary
    gives up on a standby that says nothing. `connections_share`, `cache_share`: what the alerts that come with
    postgres_exporter use; a share of fewer than `cache_blocks` says nothing. `disk_share` and `disk_full_share`: the
    alerts of node_exporter. `xid_factor`: at once the limit autovacuum begins, at twice it has not come through;
    `xid_error`: vacuum_failsafe_age. `dead_factor`: at once its threshold autovacuum comes, at twice it is behind;
    `dead_rows`: below it nobody notices.
    """

    wait_s: float = 5.0
    transaction_s: float = PATIENCE_S
    idle_s: float = 120.0
    lag_s: float = 60.0
    connections_share: float = 0.8
    cache_share: float = 0.9
    cache_blocks: int = 10_000
    disk_share: float = 0.05
    disk_full_share: float = 0.03
    xid_factor: float = 2.0
    xid_error: int = 1_600_000_000
    dead_factor: float = 2.0
    dead_rows: int = 10_000


LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that somebody should look at. `code` names the rule and `subject` what it is about (an index, a session):
    together they tell a problem that goes on from a new one. `text` is a `Phrase`; `hint` is the next command or what to do;
    `facts` is for machines, with units in the names.
    """

    code: str
    severity: Severity
    subject: str
    text: str
    hint: str
    facts: Mapping[str, object] = field(default_factory=dict)
