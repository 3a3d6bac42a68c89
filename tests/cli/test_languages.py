"""The command line in two languages: a person reads the chosen one, a machine always reads the same."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import LAWSKER_DB, Ended, environment, everything, run

from lawsker_db.cli.app import app
from lawsker_db.cli.completing import SCRIPTS, Shell
from lawsker_db.cli.language import localized
from lawsker_db.cli.layout import columns
from lawsker_db.cli.mistyped import mistyped
from lawsker_db.phrases import CHINESE, ENGLISH, Phrase, in_language, speak, spoken

CHARACTER = re.compile(r"[㐀-鿿]")
# What stays as it is in every language, with the words that may stand in it: commands, options, metavars, placeholders.
KEPT = re.compile(
    r"(lawsker-db|alembic|source|psql)[ -~]*|<[^>]*>|\[(OPTIONS|ARGS|[a-z]+)\](\.\.\.)?|\{[a-z]+\}|--[a-z-]+|~?/[ -~]*"
)
ENGLISH_PROSE = re.compile(r"[A-Za-z']{2,}[,;:]? [A-Za-z']{2,}[,;:]? [A-Za-z']{2,}")


def _commands(group: Any, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command and group, as it is typed."""
    inner = getattr(group, "commands", {})
    return [before, *(typed for name, command in inner.items() for typed in _commands(command, (*before, name)))]


COMMANDS = _commands(typer.main.get_command(app))


# ---- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", COMMANDS, ids=" ".join)
def test_help_in_chinese_leaves_no_english_sentence_and_no_line_too_wide(
    typed: tuple[str, ...], tmp_path: Path
) -> None:
    ended = run(tmp_path, *typed, "--help", "--lang", "zh", LAWSKER_LANG="zh")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert [line for line in lines if ENGLISH_PROSE.search(KEPT.sub("", line))] == []
    assert [line for line in lines if columns(line) > 80] == []
    assert lines[0].startswith("用法：")
    # each option and each command in a list has a Chinese word
    entries = re.split(r"\n  (?=\S)", ended.out.partition("选项：")[2])[1:]
    assert entries
    assert [entry for entry in entries if not CHARACTER.search(entry)] == []


@pytest.mark.parametrize("typed", COMMANDS, ids=" ".join)
def test_help_is_english_where_nobody_asks_for_another(typed: tuple[str, ...], tmp_path: Path) -> None:
    ended = run(tmp_path, *typed, "--help")
    assert not CHARACTER.search(ended.said)
    assert ended.out.startswith("Usage: lawsker-db")


# ---- how the language is chosen --------------------------------------------------------------------------------------


def test_a_language_that_there_is_not_is_refused_in_words(tmp_path: Path) -> None:
    ended = run(tmp_path, "status", "--lang", "xx")
    assert (ended.code, ended.out) == (2, "")
    assert ended.line("Failed") == "Invalid value for '--lang': Value error, 'xx' is not one of 'en', 'zh'."


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({"LANG": "xx_YY"}, ENGLISH),
        ({"LANG": "xx_YY.UTF-8", "LC_ALL": "tlh"}, ENGLISH),
        ({"LAWSKER_LANG": "nonsense"}, ENGLISH),
        ({"LANG": "zh_CN.UTF-8"}, CHINESE),  # whether or not the machine has it
        ({"LAWSKER_LANG": "zh"}, CHINESE),
    ],
)
def test_a_locale_that_does_not_exist_is_no_failure(variables: dict[str, str], language: str, tmp_path: Path) -> None:
    ended = run(tmp_path, "config", "--help", **variables)
    assert (ended.code, ended.err) == (0, "")
    assert bool(CHARACTER.search(ended.out)) == (language == CHINESE)


# ---- JSON ------------------------------------------------------------------------------------------------------------


def _shape(value: Any) -> Any:
    """A document without its numbers and times, which pass: keys, nesting, and every other word."""
    if isinstance(value, dict):
        return {key: _shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shape(inner) for inner in value]
    if isinstance(value, str):
        return re.sub(r"\d+", "0", value)
    return value if isinstance(value, bool | None) else 0


def _without_language(document: dict[str, Any]) -> dict[str, Any]:
    """Without the one value that tells which language was chosen, among the settings of doctor."""
    told = [setting for setting in document.get("settings", []) if setting["name"] != "language"]
    return {**document, "settings": told}


@pytest.mark.parametrize("command", ["status", "history", "doctor", "version"])
def test_json_is_the_same_in_every_language(command: str, adopted_url: str, tmp_path: Path) -> None:
    english, chinese = (run(tmp_path, command, "--json", "--lang", which, url=adopted_url) for which in ("en", "zh"))
    assert chinese.code == english.code
    assert not CHARACTER.search(chinese.said)
    assert _shape(_without_language(chinese.document)) == _shape(_without_language(english.document))
    assert list(chinese.document) == list(english.document)


def test_an_error_in_json_is_english(tmp_path: Path) -> None:
    ended = run(tmp_path, "status", "--json", "--lang", "zh", "--nope")
    assert (ended.code, ended.document["error"]["message"]) == (2, "No such option: --nope")
    assert not CHARACTER.search(ended.said)


# ---- a line that cannot be parsed ------------------------------------------------------------------------------------


def _refused(*typed: str) -> str:
    """What is wrong with these words."""
    command = localized(typer.main.get_command(app))
    try:
        with command.make_context("lawsker-db", list(typed)) as context:
            command.invoke(context)
    except Exception as failed:  # noqa: BLE001 - Typer's errors have no common public name
        return mistyped(failed, typed)
    raise AssertionError("it was parsed")


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("statsu", "No such command 'statsu'. Did you mean 'status'?"),
        ("backup nope", "No such command 'nope'."),
        ("backup --lang zh", "Missing command."),
        ("status --nope", "No such option: --nope"),
        ("status --runn x", "No such option: --runn (Possible options: --run, --runs)"),
        ("status -x", "No such option: -x"),
        ("--json", "No such option: --json"),
        ("status --run", "Option '--run' requires an argument."),
        ("config --json=x", "Option '--json' does not take a value."),
        ("config a b --json", "Got unexpected extra argument(s) (a b)"),
        ("restore", "Missing argument 'backup'."),
        ("grants", "Missing option '--role'."),
        (
            "rehearse --jobs x",
            "Invalid value for '--jobs': Input should be a valid integer, unable to parse string as an integer",
        ),
        ("rehearse --jobs 0", "Invalid value for '--jobs': Input should be greater than or equal to 1"),
        ("rehearse --max-lock-s -1", "Invalid value for '--max-lock-s': Input should be greater than or equal to 0"),
        (
            "rehearse --max-lock-s x",
            "Invalid value for '--max-lock-s': Input should be a valid number, unable to parse string as a number",
        ),
        (
            "rehearse --format tar",
            "Invalid value for '--format': Value error, 'tar' is not one of 'directory', 'custom'.",
        ),
    ],
)
def test_what_is_typed_wrong_is_said_in_both_languages(typed: str, words: str) -> None:
    refused = _refused(*typed.split())
    assert refused == words
    assert isinstance(refused, Phrase)
    chinese = in_language(refused, CHINESE)
    assert CHARACTER.search(chinese)
    assert not ENGLISH_PROSE.search(KEPT.sub("", chinese))


def test_typers_own_translation_does_not_hide_what_is_wrong() -> None:
    """Where the process speaks Chinese, Typer says some of its sentences by our catalogue itself."""
    before = spoken()
    speak(CHINESE)
    try:
        assert _refused("backup", "--lang", "zh") == "Missing command."
        assert _refused("statsu") == "No such command 'statsu'. Did you mean 'status'?"
    finally:
        speak(before)


def test_words_that_would_repaint_the_screen_are_escaped(tmp_path: Path) -> None:
    for typed in (("\x1b[2J",), ("status", "--\x1b[2J"), ("status", "a\x1b[2J"), ("rehearse", "--jobs", "\x1b[2J")):
        for language in ("en", "zh"):
            ended = run(tmp_path, *typed, LAWSKER_LANG=language)
            assert ended.code == 2
            assert "\x1b" not in ended.said


# ---- questions -------------------------------------------------------------------------------------------------------


def _on_a_terminal(folder: Path, answer: bytes, *typed: str, url: str, **variables: str) -> tuple[int, str]:
    """Type a command on a terminal of its own and answer its question; its exit code and what was shown."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        [str(LAWSKER_DB), *typed],
        cwd=folder,
        env=environment(folder, url, **variables),
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    ) as child:
        os.close(its)
        os.write(ours, answer)
        shown = b""
        try:
            while chunk := os.read(ours, 65536):
                shown += chunk
        except OSError:  # EIO: nobody holds the other end any more
            pass
        code = child.wait(timeout=60)
    os.close(ours)
    return code, shown.decode()


def test_a_question_is_asked_in_the_chosen_language(sample_url: str, tmp_path: Path) -> None:
    before = everything(sample_url)
    code, shown = _on_a_terminal(tmp_path, b"n\n", "adopt", "--lang", "zh", url=sample_url)
    assert code == 130, shown
    question = next(line for line in shown.splitlines() if "[y/N]" in line)
    assert question.startswith("是否将 ")
    assert everything(sample_url) == before


# ---- completion ------------------------------------------------------------------------------------------------------


def _completed(folder: Path, *words: str, **variables: str) -> Ended:
    """What bash offers for the last of these words, a line each, by the script that the command prints."""
    (folder / "completion.bash").write_text(run(folder, "completion", "bash").out)
    line = " ".join(f"'{word}'" for word in words)
    asked = (
        f"source ./completion.bash; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
        "function=$(complete -p lawsker-db | sed 's/.* -F \\([^ ]*\\) .*/\\1/'); $function lawsker-db; "
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    exact = environment(folder, None, PATH=f"{LAWSKER_DB.parent}:/usr/local/bin:/usr/bin:/bin", **variables)
    done = subprocess.run(["bash", "-c", asked], cwd=folder, env=exact, capture_output=True, text=True, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("sta",), ["status"]),
        (("backup", "pr"), ["prune"]),
        (("status", "--la"), ["--lang"]),
        (("--lang", "zh", "adop"), ["adopt"]),
        (("status", "--lang", ""), ["en", "zh"]),
        (("rehearse", "--format", "c"), ["custom"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
    ],
)
def test_bash_completes_commands_options_and_their_values(
    words: tuple[str, ...], offered: list[str], tmp_path: Path
) -> None:
    ended = _completed(tmp_path, "lawsker-db", *words)
    assert (ended.code, ended.out.split(), ended.err) == (0, offered, "")


def test_completion_says_nothing_where_the_command_cannot_run(tmp_path: Path) -> None:
    broken = tmp_path / "broken" / "lawsker_db"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('half an installation')")
    ended = _completed(tmp_path, "lawsker-db", "sta", PYTHONPATH=str(broken.parent))
    assert (ended.code, ended.out.strip(), ended.err) == (0, "", "")


@pytest.mark.parametrize("shell", Shell)
def test_each_shell_has_a_script_that_silences_errors(shell: Shell, tmp_path: Path) -> None:
    ended = run(tmp_path, "completion", shell.value)
    assert (ended.code, ended.out, ended.err) == (0, SCRIPTS[shell], "")
    assert "2>/dev/null" in ended.out
    assert json.loads(run(tmp_path, "completion", shell.value, "--json").out)["script"] == SCRIPTS[shell]


@pytest.mark.parametrize(
    ("asked", "variables"),
    [
        ("zsh", {"_TYPER_COMPLETE_ARGS": "lawsker-db sta"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "lawsker-db sta", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_zsh_and_fish_are_told_what_a_command_does_in_the_chosen_language(
    asked: str, variables: dict[str, str], tmp_path: Path
) -> None:
    ended = run(tmp_path, LAWSKER_LANG="zh", _LAWSKER_DB_COMPLETE=f"complete_{asked}", **variables)
    assert ended.code == 0
    assert "status" in ended.out
    assert CHARACTER.search(ended.out)
