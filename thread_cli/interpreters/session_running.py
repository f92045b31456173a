"""Running a piece of code in a session: what it printed last, what it bound, and the error that it ended in."""

from __future__ import annotations

import ast
import builtins
import inspect
import io
import re
import sys
from typing import Any, Final, NamedTuple

__all__ = ["ADDRESS", "Ran", "one_line", "run"]

ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
_PRINT_LIMIT: Final = 64_000  # bytes
_LINE: Final = 300
_DEPTH: Final = 1_000
"""Python's own limit of recursion, counted from the code on."""
_MARK: Final = "<statement>"
_COMPOUND: Final = (ast.If, ast.For, ast.While, ast.Try, ast.TryStar, ast.With, ast.Match)
_DEFINITIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Ran(NamedTuple):
    """What became of a piece of code.

    `bound` are the names that its simple statements bound, in the order of binding, also where it binds them to what
    they were bound to. `printed` is what the last statement that printed has printed, None where none did. `stores`
    tells whether the code sets attributes.
    """

    bound: list[str]
    printed: str | None
    error: str | None
    stores: bool


def run(code: str, names: dict[str, Any]) -> Ran:
    """Run code over names. A call before each of its statements tells which of them printed, and which were done."""
    output = _Output()
    statements: list[ast.stmt] = []
    error: str | None = None
    stores = False
    begun = 0

    def begin() -> None:
        nonlocal begun
        begun += 1
        output.part()

    try:
        tree = ast.parse(code, "<string>")
        stores = any(map(_sets_attribute, ast.walk(tree)))
        statements = tree.body
        first = _first(tree)
        compiled = compile(_marked(tree, first), "<string>", "exec", dont_inherit=True)
        begun = first
        setattr(builtins, _MARK, begin)
        sys.stdout = output.stream
        if sys.getrecursionlimit() == _DEPTH:
            sys.setrecursionlimit(_DEPTH + _depth())
        try:
            exec(compiled, names)  # noqa: S102 - what this process is for
        finally:
            sys.settrace(None)
            sys.setprofile(None)
        begun += 1
    except BaseException as raised:  # noqa: BLE001 - whatever the code raised
        error = one_line(raised)
    bound: dict[str, None] = {}
    for statement in statements[: max(begun - 1, 0)]:
        for name in _targets(statement):
            bound.pop(name, None)
            bound[name] = None
    return Ran(list(bound), output.text(), error, stores)


def one_line(error: BaseException) -> str:
    """An error as its last line reads in Python, in one line of bounded length."""
    try:
        text = str(error.msg if isinstance(error, SyntaxError) else error)
        text = ADDRESS.sub("", " ".join(text.split())[:_LINE])
    except BaseException:  # noqa: BLE001 - an error may do anything when it is written out
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class _Output(io.BytesIO):
    """What a piece of code prints, by statement; of each statement no more than a limit."""

    def __init__(self) -> None:
        super().__init__()
        self._begin = 0
        self._last = (0, 0)
        self.stream = io.TextIOWrapper(self, "utf-8", newline="\n", write_through=True)

    def write(self, data: Any, /) -> int:
        room = _PRINT_LIMIT - (self.tell() - self._begin)
        if room > 0:
            super().write(data[:room])
        return len(data)

    def close(self) -> None:
        """Stay open: what was printed is still to be read."""

    def part(self) -> None:
        """Begin with another statement."""
        end = self.tell()
        if end > self._begin:
            self._last = self._begin, end
            self._begin = end

    def text(self) -> str | None:
        self.part()
        begin, end = self._last
        return ADDRESS.sub(" at 0x0", self.getvalue()[begin:end].decode("utf-8", "replace")) if end else None


def _depth() -> int:
    """How many frames there are below the code."""
    frame, depth = inspect.currentframe(), -1
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def _first(tree: ast.Module) -> int:
    """The place of the first statement that does something: before it are a docstring and imports of the future."""
    place = int(ast.get_docstring(tree, clean=False) is not None)
    while place < len(tree.body) and getattr(tree.body[place], "module", None) == "__future__":
        place += 1
    return place


def _marked(tree: ast.Module, first: int) -> ast.Module:
    """The code with a call at the beginning of each statement from the first on."""
    body: list[ast.stmt] = tree.body[:first]
    for statement in tree.body[first:]:
        name = ast.copy_location(ast.Name(_MARK, ast.Load()), statement)
        call = ast.copy_location(ast.Call(name, [], []), statement)
        body += [ast.copy_location(ast.Expr(call), statement), statement]
    return ast.Module(body, [])


def _targets(statement: ast.stmt) -> list[str]:
    """The names that a simple statement binds, as they stand in it."""
    if isinstance(statement, _COMPOUND):
        return []
    if isinstance(statement, _DEFINITIONS):
        return [statement.name]
    nodes = list(ast.walk(statement))
    own = {id(name) for node in nodes if isinstance(node, ast.comprehension) for name in ast.walk(node.target)}
    stored = [
        node for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in own
    ]
    stored.sort(key=lambda node: (node.lineno, node.col_offset))
    imported = [node.asname or node.name for node in nodes if isinstance(node, ast.alias)]
    return [node.id for node in stored] + [name.split(".")[0] for name in imported]


def _sets_attribute(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return not isinstance(node.ctx, ast.Load)
    return isinstance(node, ast.Name) and node.id in ("setattr", "delattr", "vars", "exec", "eval", "globals")
