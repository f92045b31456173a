"""Runs a piece of code in a session: collects its last output, the names that it bound, and its error."""

from __future__ import annotations

import ast
import builtins
import io
import itertools
import operator
import re
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from thread_cli.interpreters.session_functions import DELETING, EXECUTING, seen

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ADDRESS", "Ran", "depth_allowed", "depth_left", "errors", "limit_depth", "one_line", "output", "run"]

ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
_PRINT_LIMIT: Final = 64_000  # bytes
_LINE: Final = 300
_DEPTH: Final = 1_000
"""Python's own limit of recursion."""
_MARK: Final = "<statement>"
_COMPOUND: Final = (ast.If, ast.For, ast.While, ast.Try, ast.TryStar, ast.With, ast.Match)
_DEFINITIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


_STORE: Final = "."
"""Stands for setting an attribute."""
_YIELD: Final = "yield"
_STORING: Final = {_STORE, "setattr", "delattr", "vars", "exec", "eval", "globals"}
_SEEN: Final = {
    **dict.fromkeys((_YIELD, "__del__", "weakref", "finalize", "getrefcount", "gc"), DELETING),
    **dict.fromkeys(("exec", "eval", "globals", "locals", "vars", "__dict__", "__globals__"), EXECUTING),
}
"""The actions of code that uses these names."""
_ATOMS: Final = (str, int, float, bool, bytes, complex, type(None))
"""Types of objects whose deletion nothing notices."""
_set_limit: Final = sys.setrecursionlimit
_limit = _DEPTH
_below = 0
"""Number of frames below the code's own."""


class Ran(NamedTuple):
    """The outcome of a piece of code.

    `bound` are the names that it bound: those of its simple statements, in the order of binding, also if their values
    are the same as before, and all others that another object is bound to now. `gone` are names that were bound before.
    `printed` is the output of the last statement that printed, None if none did. `stores`: the code sets attributes;
    `classes` are the classes on which it may set some.
    """

    bound: list[str]
    gone: list[str]
    printed: str | None
    error: str | None
    stores: bool
    classes: list[Any]


def run(code: str, names: dict[str, Any]) -> Ran:
    """Run code over names. A call before each of its statements records which of them printed, and which were done."""
    global _below  # noqa: PLW0603 - one process, one session
    output.begin()
    statements: list[ast.stmt] = []
    error: str | None = None
    stores = False
    begun = 0
    before: dict[str, Any] | None = None
    numbered = False

    def begin() -> None:
        nonlocal begun
        begun += 1
        output.part()

    try:
        tree = ast.parse(code, "<string>")
        used = _used(tree)
        stores = not used.isdisjoint(_STORING)
        seen.update(_SEEN[name] for name in used & _SEEN.keys())
        # An id may be used again for another object; so the objects are kept alive, unless the code would notice.
        numbered = DELETING in seen
        before = {name: id(v) if numbered and type(v) not in _ATOMS else v for name, v in names.items()}
        statements = tree.body
        first = _first(tree)
        compiled = compile(_marked(tree, first), "<string>", "exec", dont_inherit=True)
        begun = first
        setattr(builtins, _MARK, begin)
        _below = _depth()
        depth_allowed(_limit)
        try:
            # With a star, as Python does not count a call of C that it has specialized.
            exec(*(compiled, names))  # noqa: S102 - what this process is for
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
    before = names if before is None else before
    for name, value in names.items():
        if name not in before or (before[name] is not value and not (numbered and before[name] == id(value))):
            bound.setdefault(name)
    gone = [name for name in before if name not in names]
    classes = list(_classes_set(statements, names)) if stores else []
    return Ran(list(bound), gone, output.text(), error, stores, classes)


def limit_depth() -> None:
    """Replace Python's functions for the limit of recursion by ones that do not count the frames below the code."""
    for name, function in (("setrecursionlimit", depth_allowed), ("getrecursionlimit", depth_left)):
        function.__name__ = function.__qualname__ = name
        function.__module__ = "sys"
        setattr(sys, name, function)


def depth_allowed(limit: int, /) -> None:
    """Set the limit of recursion of the code."""
    global _limit  # noqa: PLW0603 - one process, one limit
    limit = operator.index(limit)
    _set_limit(limit + _below if limit > 0 else limit)
    _limit = limit


def depth_left() -> int:
    """The limit of recursion of the code."""
    return _limit


def one_line(error: BaseException) -> str:
    """Python's last line for an error, as one line of bounded length."""
    try:
        text = str(error.msg if isinstance(error, SyntaxError) else error)
        text = ADDRESS.sub("", " ".join(text.split())[:_LINE])
    except BaseException:  # noqa: BLE001 - an error may do anything when it is written out
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Output(io.BytesIO):
    """The output of code, by statement; of each statement no more than a limit."""

    def __init__(self) -> None:
        super().__init__()
        self._begin = 0
        self._last = (0, 0)
        self.stream = io.TextIOWrapper(self, "utf-8", newline="\n", write_through=True)

    def begin(self) -> None:
        """Begin with another piece of code."""
        self.seek(0)
        self.truncate()
        self._begin = 0
        self._last = (0, 0)

    def write(self, data: Any, /) -> int:
        room = _PRINT_LIMIT - (self.tell() - self._begin)
        if room > 0:
            super().write(data[:room])
        return len(data)

    def close(self) -> None:
        """Stay open: the output is still to be read."""

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


output: Final = Output()
"""The output of this session's code: its standard output, unless the code replaces it."""
errors: Final = sys.stderr
"""Code's output to it is dropped."""


def _depth() -> int:
    """Number of calls below the code, as Python counts them, taken from the error of a recursion."""
    try:
        _set_limit(*(1,))
    except RecursionError as error:
        depth = re.search("depth ([0-9]+)", str(error))
        if depth is not None:
            return int(depth[1]) - 1  # without this function
    return 0


def _first(tree: ast.Module) -> int:
    """The index of the first statement after a docstring and imports from `__future__`."""
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


def _classes_set(statements: list[ast.stmt], names: dict[str, Any]) -> Iterator[Any]:
    """The classes on which code sets or deletes attributes, in the form in which it names them: by a name, or in a
    module.
    """
    for node in itertools.chain.from_iterable(map(ast.walk, statements)):
        match node:
            case ast.Attribute(value=value, ctx=ast.Store() | ast.Del()):
                found = _named(value, names)
            case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[value, *_]):
                found = _named(value, names)
            case _:
                continue
        if issubclass(type(found), type):
            yield found


def _named(node: ast.expr, names: dict[str, Any]) -> Any:
    match node:
        case ast.Name(id=name):
            return names.get(name)
        case ast.Attribute(value=value, attr=name) if type(module := _named(value, names)) is ModuleType:
            return vars(module).get(name)
        case _:
            return None


def _used(tree: ast.Module) -> set[str]:
    """All names in code, whatever their use."""
    used: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case (
                ast.Name(id=name) | ast.FunctionDef(name=name) | ast.alias(name=name) | ast.ImportFrom(module=str(name))
            ):
                used.add(name)
            case ast.Attribute(attr=name, ctx=context):
                used.add(name)
                if not isinstance(context, ast.Load):
                    used.add(_STORE)
            case ast.Yield() | ast.YieldFrom():
                used.add(_YIELD)
            case _:
                pass
    return used
