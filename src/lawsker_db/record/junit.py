"""Checks as JUnit XML, for whatever shows test results: a suite a group, a case a check."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import groupby
from pathlib import Path

from lawsker_db.evidence import Check
from lawsker_db.record.journal import write_atomically

GROUPS = {"S": "structure", "D": "data", "B": "business", "P": "performance"}
OTHER = "other"
# What XML 1.0 cannot hold, not even escaped: https://www.w3.org/TR/xml/#charsets
FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
CODE = re.compile(r"[SDBP]\d\d")


def write_junit(path: Path, checks: tuple[Check, ...], *, suite: str) -> None:
    """Write the checks as JUnit XML, atomically, 0600. Raises `OSError` when the disk does not take it."""
    write_atomically(path, render_junit(checks, suite=suite))


def render_junit(checks: tuple[Check, ...], *, suite: str) -> bytes:
    """Pure. The document. What fails is a failure, a warning passes and says so, what was left out is skipped."""
    root = ET.Element("testsuites", {"name": _plain(suite), **_counts(checks)})
    for group, found in groupby(sorted(checks, key=_place), key=group_of):
        listed = tuple(found)
        part = ET.SubElement(root, "testsuite", {"name": group, **_counts(listed)})
        for check in listed:
            _add_case(part, check, group)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def group_of(check: Check) -> str:
    """Pure. The group of a check, by its code."""
    return GROUPS[check.code[0]] if CODE.fullmatch(check.code) else OTHER


def _place(check: Check) -> int:
    """Pure. Where the group of a check stands; within it the order stays."""
    return [*GROUPS.values(), OTHER].index(group_of(check))


def _add_case(suite: ET.Element, check: Check, group: str) -> None:
    title = f"{check.code} {check.name}" if group != OTHER else check.name
    case = ET.SubElement(suite, "testcase", name=_plain(title), classname=f"lawsker_db.verify.{group}")
    told = f"expected: {check.expected}\nfound: {check.detail or check.found}"
    if check.hint and check.ok is not True:
        told += f"\nnext: {check.hint}"
    if check.fails:
        ET.SubElement(case, "failure", message=_plain(check.found), type="error").text = _plain(told)
    elif check.ok is None:
        ET.SubElement(case, "skipped", message=_plain(check.found))
    else:
        ET.SubElement(case, "system-out").text = _plain(f"{'' if check.ok else 'WARNING '}{told}")


def _counts(checks: tuple[Check, ...]) -> dict[str, str]:
    skipped = sum(check.ok is None and not check.fails for check in checks)
    failed = sum(check.fails for check in checks)
    return {"tests": str(len(checks)), "failures": str(failed), "errors": "0", "skipped": str(skipped)}


def _plain(words: str) -> str:
    """Pure. Text as XML can hold it: names out of a database may have anything in them but a zero."""
    return FORBIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), words)
