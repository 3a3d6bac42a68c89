"""`lawsker-db monitor` as an operator types it: one look, lines, JSON, metrics, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest
from command_line import LAWSKER_DB, environment, eventually, run, started
from monitored import lock_queue
from prometheus_client.parser import text_string_to_metric_families

CHARACTER = re.compile(r"[㐀-鿿]")
COMMAND = re.compile(r" *下一步：(lawsker-db [a-z -]+|(SELECT|ALTER) .*)")
ENGLISH_PROSE = re.compile(r"[A-Za-z']{2,}[,;:]? [A-Za-z']{2,}[,;:]? [A-Za-z']{2,}")


def test_one_look_tells_everything_and_ends_well(adopted_url: str, tmp_path: Path) -> None:
    ended = run(tmp_path, "monitor", "--once", url=adopted_url)
    assert ended.code == 0, ended.said
    for words in (
        "Revision: 012 (head 013), 1 pending",
        "Promised tables: 13 of 13",
        "Sessions: ",
        "Size: ",
        "Vacuum: ",
    ):
        assert words in ended.out
    assert ended.err == ""
    assert list(tmp_path.iterdir()) == []


def test_one_look_in_chinese_has_no_english_sentence(adopted_url: str, tmp_path: Path) -> None:
    with psycopg.connect(adopted_url, autocommit=True) as conn:
        conn.execute("DROP TABLE insurances CASCADE")
        conn.execute("ALTER TABLE users ADD CONSTRAINT young CHECK (id IS NOT NULL) NOT VALID")
    with lock_queue(adopted_url):
        ended = run(tmp_path, "monitor", "--once", "--lang", "zh", url=adopted_url)
    assert ended.code == 0, ended.said
    assert "1 事务中空闲" in ended.out
    lines = ended.out.splitlines()
    assert len(lines) > 10
    # A hint may be a command alone; else each line has words, and none of them is a sentence, or a state, in English.
    said = [line for line in lines if not COMMAND.fullmatch(line)]
    assert [line for line in said if not CHARACTER.search(line)] == []
    assert [line for line in said if ENGLISH_PROSE.search(line)] == []
    assert [line for line in said if re.search(r"\b(active|idle|never|none|since|in use)\b", line)] == []
    assert "修订：012" in ended.out


def test_an_error_is_an_exit_code_where_that_is_asked_for(adopted_url: str, tmp_path: Path) -> None:
    assert run(tmp_path, "monitor", "--once", "--exit-code", url=adopted_url).code == 0
    with psycopg.connect(adopted_url) as conn:
        conn.execute("DROP TABLE insurances CASCADE")
    asked = run(tmp_path, "monitor", "--once", "--exit-code", url=adopted_url)
    assert (asked.code, "ERROR  table_missing: table insurances" in asked.out) == (13, True), asked.said
    assert run(tmp_path, "monitor", "--once", url=adopted_url).code == 0


def test_a_server_that_is_not_there_is_a_problem_and_no_end(tmp_path: Path) -> None:
    nowhere = f"postgresql:///gone?host={tmp_path}"
    ended = run(tmp_path, "monitor", "--once", "--exit-code", url=nowhere)
    assert ended.code == 13, ended.said
    assert "ERROR  connection_lost" in ended.out
    watched = run(tmp_path, "monitor", "--for", "0.5", "--interval", "0.1", "--prom-file", "m.prom", url=nowhere)
    assert watched.code == 0, watched.said
    assert watched.out.count("ERROR  connection_lost: ") == 1, "what goes on is said once, and again in the summary"
    found = {family.name: family for family in text_string_to_metric_families((tmp_path / "m.prom").read_text())}
    assert found["lawsker_db_up"].samples[0].value == 0


def test_for_machines_each_look_is_a_line(adopted_url: str, tmp_path: Path) -> None:
    ended = run(tmp_path, "monitor", "--json", "--interval", "0.1", "--for", "1", url=adopted_url)
    assert ended.code == 0, ended.said
    looks = [json.loads(line) for line in ended.out.splitlines()]
    assert len(looks) > 1
    assert looks[0]["sample"]["stamp"]["current"] == ["012"]
    assert looks[0]["rates"]["transactions_per_s"] is None
    assert looks[1]["rates"]["transactions_per_s"] is not None
    assert json.loads(ended.err)["summary"]["looks"] == len(looks)
    once = run(tmp_path, "monitor", "--json", "--once", url=adopted_url)
    assert set(once.document) == {"sample", "rates", "problems"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_with_a_summary(adopted_url: str, tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path, "monitor", "--interval", "0.1", url=adopted_url) as watching:
        assert eventually(lambda: watching.said().count("answers in") > 1)
        os.kill(watching.pid, number)
        ended = watching.end()
    assert ended.code == 0, ended.said
    assert "looks" in ended.out
    assert re.search(r"^Size of the database +\d.+B +\d.+B +\d.+B$", ended.out, re.MULTILINE), ended.out
    assert "Traceback" not in ended.said


def test_it_ends_when_nobody_reads_any_more(adopted_url: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        [str(LAWSKER_DB), "monitor", "--json", "--interval", "0.1"],
        cwd=tmp_path,
        env=environment(tmp_path, adopted_url),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline()
        watching.stdout.close()
        assert watching.wait(60) == 0


def test_a_file_that_cannot_be_written_is_said_once_and_stops_nothing(adopted_url: str, tmp_path: Path) -> None:
    typed = ("monitor", "--interval", "0.1", "--for", "1", "--prom-file", "none/m.prom")
    ended = run(tmp_path, *typed, url=adopted_url)
    assert ended.code == 0, ended.said
    assert ended.out.count("answers in") > 1
    assert ended.err.count("none/m.prom cannot be written: No such file or directory.") == 1


def test_metrics_are_for_everybody_who_may_enter_the_folder(adopted_url: str, tmp_path: Path) -> None:
    ended = run(tmp_path, "monitor", "--once", "--prom-file", "m.prom", url=adopted_url)
    assert ended.code == 0, ended.said
    path = tmp_path / "m.prom"
    assert path.stat().st_mode & 0o777 == 0o644
    assert {family.name for family in text_string_to_metric_families(path.read_text())} >= {"lawsker_db_up"}
