"""`lawsker-db completion`: what teaches a shell to complete commands and options, and its questions answered."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from lawsker_db.cli.options import Json
from lawsker_db.phrases import Phrase

ASKED = (
    "_LAWSKER_DB_COMPLETE"  # set by the scripts below while the TAB key is answered; Typer has the rest of the protocol
)


class Shell(StrEnum):
    """The shells that can be taught."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


# As Typer's own, but that nothing is said on the operator's prompt where the command cannot be run.
SCRIPTS: Mapping[Shell, str] = {
    Shell.BASH: """\
_lawsker_db_completion() {
    local IFS=$'\\n'
    COMPREPLY=( $(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" _LAWSKER_DB_COMPLETE=complete_bash \\
        "$1" 2>/dev/null) )
}
complete -o default -F _lawsker_db_completion lawsker-db
""",
    Shell.ZSH: """\
#compdef lawsker-db
_lawsker_db_completion() {
    eval "$(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _LAWSKER_DB_COMPLETE=complete_zsh lawsker-db 2>/dev/null)"
}
compdef _lawsker_db_completion lawsker-db
""",
    Shell.FISH: """\
function __lawsker_db_completion
    env _LAWSKER_DB_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=$argv[1] \\
        _TYPER_COMPLETE_ARGS=(commandline -cp) lawsker-db 2>/dev/null
end
complete --command lawsker-db --no-files --arguments "(__lawsker_db_completion get-args)" \\
    --condition "__lawsker_db_completion is-args"
""",
}


def completion(
    shell: Annotated[Shell | None, typer.Argument(help="Shell that shall complete.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Print what teaches a shell to complete commands and options when TAB is pressed. Asks no database.

    In ~/.bashrc: source <(lawsker-db completion bash)

    In ~/.zshrc, after compinit: source <(lawsker-db completion zsh)

    For fish, once: lawsker-db completion fish > ~/.config/fish/completions/lawsker-db.fish
    """
    from lawsker_db.cli.render import print_json
    from lawsker_db.errors import UsageError

    if shell is None:
        raise UsageError(
            Phrase("No shell was named: {shells}.", shells=", ".join(Shell)), hint=f"lawsker-db completion {Shell.BASH}"
        )
    if as_json:
        print_json({"shell": shell.value, "script": SCRIPTS[shell]})
        return
    print(SCRIPTS[shell], end="")


def complete(command: Any) -> int:
    """Answer what a shell asks by its variables: the words that may stand there, a line each. Asks no database."""
    from typer.completion import completion_init, shell_complete  # type: ignore[attr-defined]  # public by its place

    completion_init()
    return shell_complete(command, {}, "lawsker-db", ASKED, os.environ[ASKED])
