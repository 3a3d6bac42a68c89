"""Rules that name problems in what was seen. All of it is pure: what fires is decided by two looks and by limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lawsker_db.safety.checklist import Severity


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
