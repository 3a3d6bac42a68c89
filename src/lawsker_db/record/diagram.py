"""Changed tables as a picture: old ones before and after, side by side, and new ones with their foreign keys. Pure.

A line runs down from each table that is referred to; a dot where another table's line meets it is a foreign key. So no line
crosses a box, however many tables there are. Long chains become several pictures, each of a page's height.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lawsker_db.changes import ColumnShape, TableChange
from lawsker_db.phrases import Phrase, joined
from lawsker_db.record.markup import fitted, markup
from lawsker_db.record.page import Say, disclosed, paragraph, scrolling, subheading, table

WIDE, HALF, GAP = 760, 350, 60  # units across a picture, which is as wide as an A4 page's text
LINE, HEAD = 18, 26  # the height of a column's line, of a table's name
SHOWN = 6  # columns of an older table that stay as they are: enough to know it again
ROW = 46  # the height of a new table's box with the gap behind it
APART = 18  # between two lines that run down
OF_A_PAGE = 18  # new tables in one picture
LETTER = 6.9  # units that a letter takes at 13 pixels, as measured in system-ui and Noto Sans
NEW, GONE, SAME = "new", "gone", "same"
SIGNS = {NEW: "+", GONE: "−", SAME: ""}


def changed_tables(say: Say, changes: Sequence[TableChange]) -> str:
    """Pure. All changed tables: pictures, and the same in a table for those who hear it."""
    if not changes:
        return ""
    stood = [change for change in changes if change.before != () and change.after]
    made = [change for change in changes if not change.before or not change.after]
    whole = [change for change in made if change not in stood]
    heading = Phrase("New tables") if all(change.after for change in whole) else Phrase("Tables that go")
    pictures = "".join(_side_by_side(say, change) for change in stood)
    if whole:
        pictures += subheading(say, heading)
        pictures += paragraph(
            say,
            Phrase("A dot is a foreign key from the table at its right to the table named above its line."),
            kind="soft",
        )
        pictures += "".join(_with_keys(say, whole[at : at + OF_A_PAGE]) for at in range(0, len(whole), OF_A_PAGE))
    heads = (Phrase("Table"), Phrase("Before"), Phrase("After"), Phrase("Columns that differ"), Phrase("Refers to"))
    listed = table(say, heads, map(_as_row, changes), numbers=(1, 2))
    summary = Phrase("The {count} changed tables as a table", count=len(changes))
    return f"{pictures}{disclosed(say, summary, listed, same=True)}"


def _side_by_side(say: Say, change: TableChange) -> str:
    """Pure. A table that stood before, before and after; what came is marked, and what goes."""
    before, after = change.before, change.after
    was, now = {one.name for one in before or ()}, {one.name for one in after}
    left = _lines(say, before, lambda name: GONE if name not in now else SAME) if before is not None else ()
    right = _lines(say, after, lambda name: NEW if name not in was else SAME)
    if before is None:
        left = ((say(Phrase("not read")), SAME),)
    height = HEAD + LINE * max(len(left), len(right)) + 12
    came, went = len(now - was), len(was - now)
    title = Phrase("{table} before and after", table=change.table)
    told = Phrase("{came} columns came, {went} went; the table below has their names.", came=came, went=went)
    middle = HEAD + (height - HEAD) // 2
    arrow = (
        f'<line class="key" x1="{HALF + 12}" x2="{HALF + GAP - 18}" y1="{middle}" y2="{middle}"/>'
        f'<path class="tip" d="M{HALF + GAP - 20} {middle - 5}l10 5l-10 5z"/>'
    )
    names = (Phrase("{table} before", table=change.table), Phrase("{table} after", table=change.table))
    drawn = _box(0, say(names[0]), left, height - 2) + arrow + _box(HALF + GAP, say(names[1]), right, height - 2)
    return scrolling(say, title, _picture(drawn, height, say(title), say(told)))


def _lines(say: Say, columns: Sequence[ColumnShape], kind_of: Callable[[str], str]) -> tuple[tuple[str, str], ...]:
    """Pure. A line a column that differs, the first of the others, and how many more there are."""
    marked = [(column, kind_of(column.name)) for column in columns]
    same = [column for column, kind in marked if kind == SAME]
    shown = {column.name for column in same[:SHOWN]}
    found = [(f"{column.name}  {column.type}", kind) for column, kind in marked if kind != SAME or column.name in shown]
    more = len(same) - len(shown)
    if more > 0:
        place = sum(kind == SAME for _, kind in found)
        found.insert(place, (say(Phrase("… and {count} more, unchanged", count=more)), SAME))
    return tuple(found)


def _box(left: int, name: str, lines: Sequence[tuple[str, str]], height: int) -> str:
    """Pure. A table with its columns."""
    held, short = fitted(name, 44, HALF - 30)
    drawn = (
        f'<rect class="box" x="{left + 1}" y="1" width="{HALF - 2}" height="{height}" rx="4"/>'
        f'<rect class="head" x="{left + 2}" y="2" width="{HALF - 4}" height="{HEAD - 3}" rx="3"/>'
        f'<text class="name" x="{left + 12}" y="18"{held}>{short}</text>'
    )
    for number, (text, kind) in enumerate(lines):
        top = HEAD + LINE * number
        if kind != SAME:
            ground = "fresh" if kind == NEW else "head"
            drawn += f'<rect class="{ground}" x="{left + 2}" y="{top + 2}" width="{HALF - 4}" height="{LINE}"/>'
            drawn += f'<text class="sign {kind}" x="{left + 10}" y="{top + 15}">{SIGNS[kind]}</text>'
        held, short = fitted(text, 44, HALF - 40)
        drawn += f'<text x="{left + 26}" y="{top + 15}"{held}>{short}</text>'
    return drawn


def _with_keys(say: Say, changes: Sequence[TableChange]) -> str:
    """Pure. Tables below each other, and at their left a line for each table that they refer to."""
    targets = list(dict.fromkeys(key.table for change in changes for key in change.references))
    own = {change.table for change in changes}
    left = APART * len(targets) + 16
    top = 24 * len(targets) + 8
    height = top + ROW * len(changes) + 4
    drawn = ""
    for number, name in enumerate(targets):
        x, y = 8 + APART * number, 24 * number + 6
        held, short = fitted(f"{_sign(changes[0])} {name}" if name in own else name, 70, WIDE - x - 20)
        drawn += (
            f'<line class="key" x1="{x}" x2="{x}" y1="{y + 14}" y2="{height - 8}"/>'
            f'<text class="name" x="{x - 6}" y="{y + 10}"{held}>{short}</text>'
        )
    for number, change in enumerate(changes):
        drawn += _row(say, change, targets, left, top + ROW * number)
    title = Phrase("{count} tables and their foreign keys", count=len(changes))
    told = Phrase("They refer to {tables}.", tables=", ".join(targets)) if targets else Phrase("They refer to none.")
    return scrolling(say, title, _picture(drawn, height, say(title), say(told)))


def _row(say: Say, change: TableChange, targets: Sequence[str], left: int, top: int) -> str:
    """Pure. A new table, or one that goes: its name, its columns, and a dot for each foreign key."""
    columns = change.after or change.before or ()
    kind = NEW if change.after else GONE
    count = say(Phrase("{count} columns", count=len(columns)))
    room = int((WIDE - left - 40) / LETTER)
    listed = shortened_list([column.name for column in columns], room)
    held, short = fitted(change.table, room - 16, WIDE - left - 140)
    drawn = ""
    for place, name in enumerate(dict.fromkeys(key.table for key in change.references)):
        x, y = 8 + APART * targets.index(name), top + 8 + 8 * place
        drawn += (
            f'<line class="key" x1="{x}" x2="{left}" y1="{y}" y2="{y}"/><circle class="tip" cx="{x}" cy="{y}" r="3.5"/>'
        )
    return (
        f'{drawn}<rect class="box {kind}" x="{left}" y="{top}" width="{WIDE - left - 2}" height="{ROW - 8}" rx="4"/>'
        f'<text class="sign {kind}" x="{left + 10}" y="{top + 16}">{SIGNS[kind]}</text>'
        f'<text class="name" x="{left + 26}" y="{top + 16}"{held}>{short}</text>'
        f'<text class="soft" x="{WIDE - 12}" y="{top + 16}" text-anchor="end">{markup(count)}</text>'
        f'<text class="soft" x="{left + 26}" y="{top + 32}">{markup(listed)}</text>'
    )


def shortened_list(names: Sequence[str], room: int) -> str:
    """Pure. As many of these as have room, the rest as dots."""
    shown = ", ".join(names)
    kept = len(names)
    while kept and len(shown) > room:
        kept -= 1
        shown = ", ".join((*names[:kept], "…"))
    return shown


def _picture(drawn: str, height: int, title: str, description: str) -> str:
    return (
        f'<svg class="chart diagram" role="img" aria-label="{markup(title)}" viewBox="0 0 {WIDE} {height}">'
        f"<title>{markup(title)}</title><desc>{markup(description)}</desc>{drawn}</svg>"
    )


def _sign(change: TableChange) -> str:
    return SIGNS[NEW if change.after else GONE]


def _as_row(change: TableChange) -> tuple[str, ...]:
    """Pure. The same in words."""
    before = {column.name: column.type for column in change.before or ()}
    after = {column.name: column.type for column in change.after}
    came = [f"+ {name} {kind}" for name, kind in after.items() if name not in before]
    went = [f"− {name} {kind}" for name, kind in before.items() if name not in after]
    refers = joined(
        (Phrase("{table} by {columns}", table=key.table, columns=", ".join(key.columns)) for key in change.references),
        "; ",
    )
    was = Phrase("not read") if change.before is None else Phrase("absent") if not before else str(len(before))
    return change.table, was, str(len(after)) if after else Phrase("absent"), "; ".join((*came, *went)), refers
