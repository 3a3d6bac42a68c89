"""What reaches a terminal: no text of others moves the cursor, ends a line or turns it around."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawsker_db.cli.render import age_text, say, tell, version_text
from lawsker_db.evidence import Check
from lawsker_db.record.markup import UNSEEN, visible

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@given(st.text(st.characters(exclude_categories=[])))
def test_nothing_unseen_is_left_and_what_shows_is_left_alone(text: str) -> None:
    shown = visible(text)
    assert not {unicodedata.category(char) for char in shown} & set(UNSEEN)
    assert visible(shown) == shown
    kept = [char for char in text if unicodedata.category(char) not in UNSEEN]
    if len(kept) == len(text):
        assert shown == text
    else:
        assert "\\" in shown
        rest = iter(shown)
        assert all(char in rest for char in kept)  # in their order


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("users", "users"),
        ("律师 «é»", "律师 «é»"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b2J", "\\x9b2J"),
        ("a\nFailed: b\r", "a\\nFailed: b\\r"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066x\u2069\u200b", "\\u2066x\\u2069\\u200b"),
        ("\u2028\udcff\U000e0041", "\\u2028\\udcff\\U000e0041"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_what_does_not_show_becomes_an_escape_that_does(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_every_line_for_people_goes_through_it(capsys: pytest.CaptureFixture[str]) -> None:
    from lawsker_db.cli.render import show_checks, show_error
    from lawsker_db.errors import Refused

    evil = "\x1b[2J\u202e\n"
    tell(evil)
    say(evil)
    show_checks((Check(name=evil, ok=False, expected=evil, found=evil),))
    show_error(Refused(evil, hint=evil, state=evil, folder=evil), as_json=False)
    said = capsys.readouterr()
    assert len((said.out + said.err).splitlines()) == 7
    assert not [char for char in said.out + said.err if unicodedata.category(char) in UNSEEN and char != "\n"]


@pytest.mark.parametrize(
    ("ago", "told"),
    [
        (timedelta(seconds=0), "0 s ago"),
        (timedelta(seconds=119), "119 s ago"),
        (timedelta(minutes=2), "2 min ago"),
        (timedelta(minutes=119), "119 min ago"),
        (timedelta(hours=47), "47 h ago"),
        (timedelta(days=2), "2 days ago"),
        (timedelta(days=-1), "in the future (a clock is wrong)"),
    ],
)
def test_ages_are_told_in_a_unit_that_fits(ago: timedelta, told: str) -> None:
    assert age_text(NOW - ago, NOW) == told


def test_a_version_number_is_told_as_people_say_it() -> None:
    assert version_text(150018) == "15.18"
