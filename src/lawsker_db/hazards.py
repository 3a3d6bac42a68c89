"""What in the source of a revision would leave the transaction that it is to be run in; seen before anything runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

from lawsker_db.phrases import Phrase
from lawsker_db.postgres.seal import transaction_control

EXECUTING = ("execute", "text", "exec_driver_sql")


@cache
def find_hazards(source: str) -> tuple[str, ...]:
    """Pure. What in a revision's source would leave the guarded transaction: sentences, with line numbers.

    Remembered by the text: a run asks six times, and reading 013 takes 30 ms.
    """
    return tuple(sorted(set(_hazards(ast.parse(source)))))


def _hazards(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "autocommit_block":
            yield Phrase("line {line}: autocommit_block() leaves the transaction", line=node.lineno)
        if isinstance(node, ast.keyword) and node.arg == "postgresql_concurrently":
            yield Phrase("line {line}: CONCURRENTLY cannot run in a transaction", line=node.value.lineno)
        if isinstance(node, ast.Call) and _called(node) in EXECUTING:
            for argument in node.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    word = transaction_control(argument.value)
                    if word:
                        yield Phrase(
                            "line {line}: {word} ends or begins a transaction", line=argument.lineno, word=word
                        )


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
