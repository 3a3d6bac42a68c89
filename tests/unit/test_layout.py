"""Lines are counted in columns, and what belongs together stays together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawsker_db.cli.layout import PIECE, columns, in_lines

TEXTS = st.text(alphabet="数据库已恢复，。（）“”ab1-- \n")


@given(TEXTS, st.integers(min_value=4, max_value=40))
def test_no_line_is_wider_unless_it_is_one_word(text: str, width: int) -> None:
    for line in in_lines(text, width):
        assert columns(line) <= width or len(PIECE.findall(line)) == 1


@given(TEXTS, st.integers(min_value=4, max_value=40))
def test_nothing_but_blanks_is_lost(text: str, width: int) -> None:
    assert "".join("".join(in_lines(text, width)).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("", 10, [""]),
        ("备份已恢复。", 10, ["备份已恢", "复。"]),
        ("见 pg_restore 说明", 12, ["见", "pg_restore", "说明"]),
        ("先升级（online）后验证", 10, ["先升级", "（online）", "后验证"]),
    ],
)
def test_marks_stay_with_what_they_close_and_words_stay_whole(text: str, width: int, lines: list[str]) -> None:
    assert in_lines(text, width) == lines
