"""How a watch ended, for people: what there was to see, in what it differed, and where the report is."""

from __future__ import annotations

import sys

from lawsker_db.cli.layout import columns
from lawsker_db.cli.render import BAD, DOUBTFUL, padded, painted, tell
from lawsker_db.monitor.figures import KINDS, amount_text, seconds_text
from lawsker_db.monitor.problem import ERROR
from lawsker_db.monitor.watching import Span, Summary
from lawsker_db.phrases import Phrase, said
from lawsker_db.record.markup import visible


def tell_summary(summary: Summary) -> None:
    """The whole time on stdout: how long, what the numbers were, and the problems with their beginning and end."""
    seconds = (summary.ended_at - summary.began_at).total_seconds()
    words = Phrase(
        "Watched {target} for {time}, {looks} looks.",
        target=summary.target,
        time=seconds_text(round(seconds, 1)),
        looks=summary.looks,
    )
    tell(words)
    if summary.unreachable:
        away = seconds_text(round(summary.away_s))
        tell(Phrase("It did not answer {number} times, for {time}.", number=summary.unreachable, time=away))
    _tell_figures(summary)
    for span in summary.spans:
        _tell_span(span)
    if not summary.spans:
        tell(Phrase("No problem."))


def _tell_figures(summary: Summary) -> None:
    """A table: least, mean and most of each number. One below the other where the terminal is narrow is still readable."""
    rows = [
        (
            visible(said(KINDS[figure.name].words)),
            *(amount_text(figure.name, value) for value in (figure.least, figure.mean, figure.most)),
        )
        for figure in summary.figures
    ]
    if not rows:
        return
    heads = ("", *(said(word) for word in (Phrase("least"), Phrase("mean"), Phrase("most"))))
    wide = [max(columns(row[place]) for row in (heads, *rows)) for place in range(len(heads))]
    for first, *rest in (heads, *rows):
        cells = (" " * (size - columns(cell)) + cell for cell, size in zip(rest, wide[1:], strict=True))
        tell("  ".join((padded(first, wide[0]), *cells)))


def _tell_span(span: Span) -> None:
    """A problem: when it was one, and what to do about it where it still is."""
    problem = span.problem
    error = problem.severity is ERROR
    mark = painted(said(Phrase("ERROR") if error else Phrase("WARN")), BAD if error else DOUBTFUL, sys.stdout)
    first, last = (f"{at:%H:%M:%S}" for at in (span.first_at, span.last_at))
    when = Phrase("{first} to {last} UTC", first=first, last=last)
    if not span.over:
        when = Phrase("since {first} UTC, goes on", first=first)
    words = Phrase("{code}, {when}: {text}", code=problem.code, when=when, text=problem.text)
    # The mark may hold the colour, which `tell` would show as the signs that it is made of.
    print(f"{mark}  {visible(said(words))}")
    if not span.over:
        tell(Phrase("       Next: {hint}", hint=problem.hint))
