"""`lawsker-db monitor` as somebody sees it: on real terminals of several sizes, in a pipe, at its end, and in its report."""

from __future__ import annotations

import json
import re
import secrets
import signal
import stat
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import command_line
import jsonschema
import psycopg
import pytest
from command_line import LAWSKER_DB, environment, eventually, started
from monitored import cloned, lock_queue, make_adopted, run
from psycopg import sql
from servers import Breakable, breakable
from terminal import CTRL_C, Terminal, terminal

SIZES = ((100, 30), (80, 24), (40, 20), (20, 10))
# The widest in make test, the others in make test-long.
SOON = (SIZES[0], *(pytest.param(*size, marks=pytest.mark.long) for size in SIZES[1:]))
OFTEN = ("--interval", "0.2")
HOSTILE = 'x[red]"; <script>\x1b[2J'
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7][;m]")


@pytest.fixture(scope="module")
def server() -> Iterator[Breakable]:
    """A server of this module's own, which is stopped and started."""
    with breakable(settings={"autovacuum": "on"}) as running:
        yield running


@pytest.fixture(scope="module")
def template(server: Breakable) -> str:
    make_adopted(server, "sample")
    return "sample"


@pytest.fixture
def url(server: Breakable, template: str) -> Iterator[str]:
    """A clone of the sample for one test."""
    yield from cloned(server, template)


# ---- what stands on the screen ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("columns", "rows"), SOON)
def test_a_healthy_database_is_seen_at_a_glance_on_every_terminal(
    columns: int, rows: int, url: str, tmp_path: Path
) -> None:
    with terminal(tmp_path, "monitor", *OFTEN, url=url, columns=columns, rows=rows) as screen:
        screen.wait_for("ANSWERS in", "No problem.")
        if columns >= 40:
            screen.wait_for("Connections", "Transactions")
        if rows <= 20:
            screen.wait_for("more lines")
        else:
            screen.wait_for("Promised tables", "13 of 13", "Disk", "none, and no slot", "revision 012, head 013", "UTC")
        screen.press(CTRL_C)
        assert screen.end() == 0


@pytest.mark.parametrize(("columns", "rows"), SOON)
def test_who_waits_and_for_whom_is_seen_on_every_terminal(columns: int, rows: int, url: str, tmp_path: Path) -> None:
    with (
        lock_queue(url) as (holder, waiter, behind),
        terminal(tmp_path, "monitor", *OFTEN, url=url, columns=columns, rows=rows) as screen,
    ):
        screen.wait_for("WARN", "SELECT")
        if columns >= 40:
            screen.wait_for(f"SELECT pg_terminate_backend({holder})", f"BLOCKS: pid {holder}, [bold]billing")
            screen.wait_for(f"└ pid {waiter}")
        if rows >= 24:
            screen.wait_for(f"└ pid {behind}, web, waits", "RowExclusiveLock on users", "has waited")
            depths = {pid: indent(screen, f"└ pid {pid}") for pid in (waiter, behind)}
            assert depths[behind] > depths[waiter]


def indent(screen: Terminal, words: str) -> int:
    return next(line.index(words) for line in screen.lines() if words in line)


def test_in_chinese_columns_stand_below_each_other(url: str, tmp_path: Path) -> None:
    with terminal(tmp_path, "monitor", *OFTEN, "--lang", "zh", url=url, columns=80, rows=24) as screen:
        screen.wait_for("没有问题", "连接数", "最大的表")
        rows = [number for number, line in enumerate(screen.lines()) if "连接数" in line or "本数据库" in line]
        titles = next(number for number, line in enumerate(screen.lines()) if "负载" in line and "存储" in line)
        second = screen.cells(titles).index("存")
        for number in (*rows, titles):
            cells = screen.cells(number)
            assert cells[second - 2 : second] == [" ", " "]
            assert cells[second] not in (" ", "")


@pytest.mark.long
def test_a_window_that_is_pulled_to_another_size_is_filled_anew(url: str, tmp_path: Path) -> None:
    with terminal(tmp_path, "monitor", *OFTEN, url=url, columns=100, rows=30) as screen:
        screen.wait_for("Standbys and slots", "Ctrl-C ends")
        screen.resize(40, 20)
        screen.wait_for("more lines", "No problem.")
        screen.wait_without("Standbys and slots")
        screen.resize(100, 30)
        screen.wait_for("Standbys and slots", "Ctrl-C ends")


def test_names_of_a_database_are_no_markup_and_repaint_nothing(server: Breakable, tmp_path: Path) -> None:
    with psycopg.connect(server.url(), autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(HOSTILE)))
        url = server.url("PLACE").replace("PLACE", quote(HOSTILE, safe=""))
        with (
            psycopg.connect(url, application_name="[/red]\x1b]0;title\x07") as session,
            terminal(tmp_path, "monitor", *OFTEN, "--out", "report", url=url) as screen,
        ):
            session.execute("SELECT 1")
            screen.wait_for('x[red]"; <script>\\x1b[2J', "[/red]")
            screen.press(CTRL_C)
            assert screen.end() == 0
        assert "\x1b]0;" not in screen.raw()
        assert "\x1b[2J" not in screen.raw().replace("\x1b[2J\x1b[H", "")  # which rich writes when it begins
        page = next((tmp_path / "report").glob("*.html")).read_text()
        assert "<script" not in page
        assert "&lt;script&gt;" in page
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(HOSTILE)))


@pytest.mark.long
def test_what_a_role_may_not_see_is_told_and_is_no_zero(url: str, tmp_path: Path) -> None:
    role = f"watcher_{secrets.token_hex(4)}"
    run(url, f"CREATE ROLE {role} LOGIN")
    try:
        with psycopg.connect(url), terminal(tmp_path, "monitor", *OFTEN, url=f"{url}&user={role}") as screen:
            screen.wait_for("not shown", f"{role} is no member of pg_monitor", f'GRANT pg_monitor TO "{role}"')
            seen = [line for line in screen.lines() if "Longest transaction" in line or "Disk" in line]
            assert all("not seen" in line for line in seen), seen
            assert seen
            screen.press(CTRL_C)
            screen.end()
            assert "Longest transaction" not in screen.text()  # of which the summary would have to say zero
    finally:
        run(url, f"DROP OWNED BY {role}")
        run(url, f"DROP ROLE {role}")


# ---- a database that goes away ---------------------------------------------------------------------------------------


def test_a_server_that_goes_away_is_told_and_found_again(server: Breakable, url: str, tmp_path: Path) -> None:
    with terminal(tmp_path, "monitor", *OFTEN, "--out", "report", url=url) as screen:
        screen.wait_for("ANSWERS in", "Promised tables")
        server.stop()
        screen.wait_for("NO ANSWER for", "Below: what was seen last", "ERROR", "Problems: errors 1")
        screen.wait_for("NO ANSWER for 2")  # seconds: the clock goes on although nothing new is seen
        server.start()
        screen.wait_for("ANSWERS in", "was away for", "No problem.")
        screen.press(CTRL_C)
        assert screen.end() == 0
        assert "It did not answer" in screen.text()
    document = the_report(tmp_path / "report")
    (gap,) = document["gaps"]
    assert gap["over"]
    away = [point["reachable"] for point in document["points"]]
    assert False in away[1:-1]
    assert all(not point["figures"] for point in document["points"] if not point["reachable"])
    page = Page((tmp_path / "report").glob("*.html"))
    assert page.pieces("Sessions of this database") >= 2  # a line for each of two figures, and broken where it was away
    assert "Times without an answer" in page.text


# ---- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [None, signal.SIGTERM, signal.SIGHUP], ids=["Ctrl-C", "SIGTERM", "SIGHUP"])
def test_a_watch_ends_with_a_summary(how: signal.Signals | None, url: str, tmp_path: Path) -> None:
    with terminal(tmp_path, "monitor", *OFTEN, url=url) as screen:
        screen.wait_for("Transactions", "/s")
        if how is None:
            screen.press(CTRL_C)
        else:
            screen.child.send_signal(how)
        assert screen.end() == 0
        text = screen.text()
    assert "Watched " in text
    assert re.search(r"Size of the database +\d.*MB", text)
    assert "No problem." in text
    assert "Traceback" not in screen.raw()


@pytest.mark.long
def test_in_chinese_the_summary_is_chinese(url: str, tmp_path: Path) -> None:
    with terminal(tmp_path, "monitor", "--for", "0", "--lang", "zh", url=url) as screen:
        assert screen.end() == 0
    assert "采样 1 次" in screen.text()
    assert "没有问题。" in screen.text()


@pytest.mark.long
def test_the_exit_code_tells_of_an_error_that_is_there_at_the_end(server: Breakable, url: str, tmp_path: Path) -> None:
    assert command_line.run(tmp_path, "monitor", "--for", "0", "--exit-code", url=url).code == 0
    server.stop()
    for more, code in ((("--exit-code",), 13), ((), 0)):
        ended = command_line.run(tmp_path, "monitor", "--for", "0", *more, url=url)
        assert ended.code == code, ended.said
        assert "connection_lost" in ended.out


# ---- no terminal -----------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_terminal_without_a_cursor_gets_plain_lines(url: str, tmp_path: Path) -> None:
    with terminal(tmp_path, "monitor", *OFTEN, "--for", "1", url=url, TERM="dumb") as screen:
        assert screen.end() == 0
    assert "\x1b" not in screen.raw()
    assert screen.raw().count("answers in") > 1


def test_a_pipe_gets_plain_lines_and_its_end_is_the_end(url: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$0" monitor --interval 0.1 | head -n 1', str(LAWSKER_DB)],
        cwd=tmp_path,
        env=environment(tmp_path, url),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=command_line.SLOW_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "answers in" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.long
def test_no_color_keeps_colours_off_and_words_stay(url: str, tmp_path: Path) -> None:
    for asked, coloured in (("1", False), ("", True)):
        with terminal(tmp_path, "monitor", *OFTEN, url=url, NO_COLOR=asked) as screen:
            screen.wait_for("ANSWERS in", "No problem.")
            screen.press(CTRL_C)
            screen.end()
        assert bool(COLOUR.search(screen.raw())) is coloured


def test_json_is_a_line_a_look_and_the_summary_is_beside_it(url: str, tmp_path: Path) -> None:
    ended = command_line.run(
        tmp_path, "monitor", "--for", "1", "--interval", "0.3", "--json", "--out", "r.json", url=url
    )
    looks = [json.loads(line) for line in ended.out.splitlines()]
    assert len(looks) > 1
    assert {"sample", "rates", "problems"} == set(looks[0])
    said = json.loads(ended.err)
    assert said["summary"]["looks"] == len(looks)
    assert said["report"] == ["r.json"]


# ---- the report ------------------------------------------------------------------------------------------------------


def the_report(folder: Path) -> dict[str, Any]:
    """The one JSON report in a folder, which is what the published schema says."""
    (path,) = folder.glob("monitoring-report-*.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    document: dict[str, Any] = json.loads(path.read_bytes())
    schema = json.loads(resources.files("lawsker_db.monitor").joinpath("report_schema.json").read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema, format_checker=jsonschema.FormatChecker())
    return document


class Page(HTMLParser):
    """A page as its elements and its text."""

    def __init__(self, paths: Iterator[Path]) -> None:
        super().__init__()
        (path,) = paths
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.source = path.read_text()
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def pieces(self, title: str) -> int:
        """How many pieces the lines of a chart have."""
        chart = self.source.partition(f'aria-label="{title}"')[2]
        return chart[: chart.index("</section>")].partition('role="img"')[0].count("<polyline")


def test_the_report_tells_the_whole_watch(url: str, tmp_path: Path) -> None:
    with terminal(tmp_path, "monitor", *OFTEN, "--out", "report", url=url) as screen:
        with lock_queue(url) as (holder, _waiter, _behind):
            screen.wait_for(f"SELECT pg_terminate_backend({holder})")
        screen.wait_for("No problem.")
        screen.press(CTRL_C)
        assert screen.end() == 0
        assert "Report: report/monitoring-report-" in screen.text()
    document = the_report(tmp_path / "report")
    assert document["monitoring_report_version"] == 1
    queue = next(span for span in document["summary"]["spans"] if span["problem"]["code"] == "lock_queue")
    assert queue["over"]
    assert queue["first_at"] <= queue["last_at"]
    assert holder in queue["problem"]["facts"]["blocking_pids"]
    assert max(point["figures"].get("waiting", 0) for point in document["points"]) == 2
    page = Page((tmp_path / "report").glob("*.html"))
    assert ("html", {"lang": "en"}) in page.tags
    assert not {"script", "img", "link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    assert "default-src 'none'" in page.source
    assert "lock_queue" in page.text
    assert page.source.index("No problem at the end") < page.source.index("lock_queue")
    for chart in ("Sessions of this database", "Transactions a second", "Size of the database", "Dead rows"):
        assert page.pieces(chart) >= 1


@pytest.mark.long
def test_the_page_is_in_the_chosen_language_and_the_json_is_not(url: str, tmp_path: Path) -> None:
    more = ("--for", "1", "--interval", "0.2", "--out", "report", "--lang", "zh")
    assert command_line.run(tmp_path, "monitor", *more, url=url).code == 0
    page = Page((tmp_path / "report").glob("*.html"))
    assert ("html", {"lang": "zh-Hans"}) in page.tags
    assert "没有问题" in page.text
    assert "每秒事务数" in page.source
    assert not re.search("[\u4e00-\u9fff]", json.dumps(the_report(tmp_path / "report"), ensure_ascii=False))


@pytest.mark.long
def test_a_report_that_cannot_be_written_is_told_twice_and_changes_nothing_else(url: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    ended = command_line.run(tmp_path, "monitor", "--for", "0", "--out", "taken", url=url)
    assert ended.code == 0
    assert "The report will not be written: taken: " in ended.err
    assert "The report could not be written: " in ended.err
    assert "Watched " in ended.out
    assert (tmp_path / "taken").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.long
def test_a_watch_that_is_stopped_while_the_server_hangs_ends(server: Breakable, url: str, tmp_path: Path) -> None:
    with started(tmp_path, "monitor", *OFTEN, url=url) as running:
        assert eventually(lambda: "answers in" in running.said())
        server.stop()
        assert eventually(lambda: "has not answered" in running.said())
        running.child.send_signal(signal.SIGINT)
        ended = running.end()
    assert ended.code == 0
    assert "It did not answer" in ended.out
