"""Separates code from prose, and finds the names that code uses.

Code are the maximal runs of lines that parse as Python and would do something; everything else is prose. A bare name,
a number or a comma-separated list of words parses too, but does nothing: it is prose.
"""

from __future__ import annotations

import ast
import re
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

__all__ = ["Code", "find_code", "names_in", "parse", "silent", "syntax_error"]

_LONGEST_BLOCK = 100  # lines; parsing ever longer prefixes is quadratic
_LONGEST_TEXT = 20_000  # characters
_ALLOW_INCOMPLETE_INPUT = 0x4000  # as `codeop` uses it
_CONTINUES = re.compile(r"\s|(else|elif|except|finally)\b")
_EFFECTS = (ast.Call, ast.Await, ast.NamedExpr, ast.Yield, ast.YieldFrom)


@dataclass(slots=True)
class Code:
    """One run of code lines, parsed."""

    source: str
    statements: tuple[ast.stmt, ...]


class _IncompleteError(SyntaxError):
    pass


@contextmanager
def silent() -> Generator[None]:
    """Keep Python from warning about a model's code inside the block, such as about an unknown escape in a string."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@lru_cache(maxsize=64)
def parse(source: str) -> list[ast.stmt]:
    """The statements of `source`.

    Raises:
        SyntaxError: it is not Python, or nested too deeply to be parsed.
    """
    with silent():
        try:
            tree = compile(source, "<thread>", "exec", flags=ast.PyCF_ONLY_AST | _ALLOW_INCOMPLETE_INPUT)
        except SyntaxError as error:
            if error.msg == "incomplete input":
                raise _IncompleteError from error
            raise
        except (ValueError, RecursionError, MemoryError, OverflowError) as error:
            raise SyntaxError(str(error)) from error
    return cast("ast.Module", tree).body


def syntax_error(source: str) -> str:
    """Python's error message for code that cannot be parsed, in one line."""
    with silent():
        try:
            compile(source, "<string>", "exec", flags=ast.PyCF_ONLY_AST, dont_inherit=True)
        except SyntaxError as error:
            return f"{type(error).__name__}: {' '.join(str(error.msg).split())[:300]}"
        except (ValueError, RecursionError, MemoryError, OverflowError) as error:
            return f"SyntaxError: {' '.join(str(error).split())[:300]}"
    return "SyntaxError: invalid syntax"


def names_in(statements: Iterable[ast.AST], *, attributes: bool = False) -> set[str]:
    """The names that occur in code; with `attributes` also the names of attributes, since `table.query` may look a name
    up by its text.
    """
    found: set[str] = set()
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name):
                found.add(node.id)
            elif attributes and isinstance(node, ast.Attribute):
                found.add(node.attr)
    return found


def find_code(text: str, *, apart: bool = False) -> list[Code]:
    """The code in `text`, in order, as maximal runs; with `apart` every statement is a run of its own."""
    if not text or len(text) > _LONGEST_TEXT:
        return []
    lines = text.split("\n")
    runs: list[list[Code]] = []
    at, adjacent = 0, False
    while at < len(lines):
        if not lines[at].strip() or lines[at].lstrip().startswith("#"):
            at += 1
            continue
        block = _block(lines, at)
        if block is None:
            at, adjacent = at + 1, False
            continue
        code, at = block
        if adjacent and not apart:
            runs[-1].append(code)
        else:
            runs.append([code])
        adjacent = True
    return [_merged(run) for run in runs]


def _block(lines: list[str], start: int) -> tuple[Code, int] | None:
    """The longest piece of code that begins on line `start`, and the line after it."""
    best: tuple[Code, int] | None = None
    for end in range(start + 1, min(len(lines), start + _LONGEST_BLOCK) + 1):
        source = "\n".join(lines[start:end])
        try:
            statements = _acting(source)
        except _IncompleteError:
            continue
        except SyntaxError:
            break
        if not statements:
            break
        if lines[end - 1].strip():
            best = Code(source, statements), end
        if end < len(lines) and lines[end].strip() and not _CONTINUES.match(lines[end]):
            break
        if end < len(lines) and not lines[end].strip() and not isinstance(statements[-1], _COMPOUND):
            break
    return best


_COMPOUND = (ast.For, ast.While, ast.If, ast.With, ast.Try, ast.FunctionDef, ast.ClassDef, ast.Match)


@lru_cache(maxsize=64)
def _acting(source: str) -> tuple[ast.stmt, ...]:
    """The statements of `source`, or none where none of them would do anything; raises as `parse` does."""
    statements = tuple(parse(source))
    return statements if any(map(_does_something, statements)) else ()


def _does_something(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.AnnAssign):
        return statement.value is not None
    if isinstance(statement, ast.Expr):
        return any(isinstance(node, _EFFECTS) for node in ast.walk(statement))
    return True


def _merged(run: list[Code]) -> Code:
    if len(run) == 1:
        return run[0]
    return Code("\n".join(code.source for code in run), tuple(s for code in run for s in code.statements))
