"""The subset of Python that the sandbox for machines without confinement computes as Python does; other code is
refused.

`pydantic-monty` silently differs from Python in the order of sets, iterators, classes, and the state that outlives a
piece of code. A thread that uses these gets an error instead of a different value.
"""

from __future__ import annotations

import ast
import builtins
import math
import re
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, cast

from thread_cli.protocols.code import names_in, parse, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ODD", "PLAIN", "at_prints", "checked", "refusal"]

_MODULES: Final = {
    "math": None,
    "json": {"dumps", "loads"},
    "typing": None,
    "re": {"findall", "search", "match", "fullmatch", "sub", "split", "escape"},
}
"""Modules, with the names that may be used if not all may."""
_INEXACT: Final = frozenset(("atanh", "cbrt", "erf", "erfc", "gamma", "lgamma"))
"""Functions of `math` whose last digit differs."""
_CONSUMERS: Final = frozenset("sum any all min max sorted list tuple dict join".split())  # noqa: SIM905
_ORDERLESS: Final = frozenset("sorted len any all min max".split())  # noqa: SIM905
_LAZY: Final = frozenset("map filter zip enumerate reversed iter".split())  # noqa: SIM905
_KINDS: Final = {"set", "frozenset"} | (_LAZY - {"iter"})
"""Types that the sandbox has as functions."""
_BUILTINS: Final = frozenset(
    """print len range str int float bool list tuple dict sum min max abs round sorted any all divmod pow ord chr repr
    isinstance map filter zip enumerate reversed set frozenset bin oct hex True False None Exception ValueError
    KeyError TypeError IndexError ZeroDivisionError AttributeError RuntimeError NotImplementedError AssertionError
    StopIteration ArithmeticError LookupError NameError""".split()  # noqa: SIM905 - as a list it would be a page long
)
_UNKNOWN: Final = (ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFunctionDef, ast.With, ast.Match, ast.TryStar)
_ALL_BUILTINS: Final = frozenset(dir(builtins))
_TEXTS: Final = ("", "a", "a b", "1-2")
PLAIN: Final = """
def plain_(value):
    if type(value) in (list, tuple, set, frozenset):
        return all([plain_(item) for item in value])
    if type(value) is dict:
        return all([type(key) not in (float, bool) and plain_(key) and plain_(value[key]) for key in value])
    return value is None or (type(value) in (str, int, float, bool, bytes) and value == value)
"""
"""Code that finds out in the sandbox whether a value stays the same on its way out."""
_FORMATTED: Final = """
def formatted_(value):
    if type(value) in (str, int, float, bool):
        return value
    raise TypeError('unsupported format string passed to ' + type(value).__name__ + '.__format__')
"""
_WHY: Final = "this machine cannot confine Python, and a subset of it runs instead"
_SUMMED: Final = f"""
def summed_(items, start=0):
    items = [item for item in items]
    for item in [start, *items]:
        if type(item) is float:
            raise NotImplementedError('a sum of floats cannot be computed here: {_WHY}')
    return sum(items, start)
"""
_COMPENSATED: Final = sum([0.1] * 10) == 1.0
"""Whether this Python compensates for rounding when it sums floats, as from 3.12 on; the sandbox does not."""
_SHOWN: Final = """
try:
    odd_
except NameError:
    odd_ = []
def shown_(value, depth=0):
    kind = type(value)
    if kind is float:
        text = repr(value)
        if len(text) > 16 and 'n' not in text:
            count = len(text.split('e')[0].replace('.', '').replace('-', '').lstrip('0'))
            rest = f'{value:.30e}'.split('e')[0].replace('.', '').replace('-', '')[count:]
            if rest.startswith('5') and not rest[1:].strip('0'):
                odd_.append('the last digit of ' + text)
    elif kind in (list, tuple, set, frozenset):
        for item in value if depth < 30 else []:
            shown_(item, depth + 1)
    elif kind is dict:
        for key in value if depth < 30 else []:
            if type(key) in (float, bool):
                odd_.append('a key that is no whole number')
            shown_(value[key], depth + 1)
    elif kind is range and value.step not in (1, -1):
        odd_.append('the text of a range')
    elif kind not in (str, int, bytes, type) and repr(value).startswith('<function'):
        odd_.append('the text of a function')
    return value
"""
"""Code that records, in the sandbox, values that are spelled differently there."""
ODD: Final = "odd_"
"""The name of these records."""
_SHOWING: Final = frozenset(("print", "str", "repr", "dumps", "format"))
_OURS: Final = frozenset(("plain_", "formatted_", "kept_", "shown_", "odd_", "summed_"))


class _RefusedError(Exception):
    """The message names the construct that is refused."""


def refusal(statements: Sequence[ast.stmt]) -> str | None:
    """The error for code that is refused; None for code that is not."""
    try:
        parents = {child: node for top in statements for node in ast.walk(top) for child in ast.iter_child_nodes(node)}
        for top in statements:
            for node in ast.walk(top):
                _check(node, parents)
        _check_definitions(statements)
    except _RefusedError as refused:
        return f"NotImplementedError: {refused} cannot be computed here: {_WHY}"
    return None


def checked(source: str) -> str:
    """Source changed so that it formats and sums only values that Python treats as the sandbox does, and records values
    that are spelled differently in the sandbox, under the name `odd_`.
    """
    with silent():
        tree = ast.parse(source)
    helpers: set[str] = set()

    def called(name: str, value: ast.expr) -> ast.expr:
        helpers.add(_FORMATTED if name == "formatted_" else _SHOWN)
        return ast.Call(ast.Name(name, ast.Load()), [value], [])

    for node in list(ast.walk(tree)):
        match node:
            case ast.FormattedValue() if node.format_spec and node.conversion == -1:
                node.value = called("formatted_", node.value)
            case ast.FormattedValue():
                node.value = called("shown_", node.value)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _SHOWING:
                node.args = [_inside(called, "shown_", value) for value in node.args]
            case ast.Call() if _COMPENSATED and _is_sum(node):
                if len(node.args) in (1, 2) and all(each.arg == "start" for each in node.keywords):  # or it is an error
                    node.func = ast.Name("summed_", ast.Load())
                    helpers.add(_SUMMED)
            case ast.BinOp(left=ast.Constant(value=str()), op=ast.Mod()):
                node.right = called("shown_", node.right)
            case _:
                pass
    return f"{''.join(sorted(helpers))}{ast.unparse(ast.fix_missing_locations(tree))}" if helpers else source


def _inside(called: Callable[[str, ast.expr], ast.expr], name: str, value: ast.expr) -> ast.expr:
    """A call with an argument; where that has a star, within it."""
    if isinstance(value, ast.Starred):
        return ast.Starred(called(name, ast.Call(ast.Name("list", ast.Load()), [value.value], [])), ast.Load())
    return value if isinstance(value, ast.Constant) else called(name, value)


def at_prints(statements: Sequence[ast.stmt], sources: Sequence[str]) -> list[str]:
    """The statements' source, in pieces: if several statements print, each of these is a piece of its own; if functions
    print, every statement is.
    """
    functions = [
        node for top in statements for node in ast.walk(top) if isinstance(node, (ast.FunctionDef, ast.Lambda))
    ]
    if any("print" in names_in(inner) for inner in (functions, *map(parse, sources))):
        return [_source([each]) for each in statements]
    prints = ["print" in names_in([each]) for each in statements]
    if sum(prints) < 2:
        return [_source(list(statements))]
    pieces: list[list[ast.stmt]] = [[]]
    for statement, alone in zip(statements, prints, strict=True):
        if alone:
            pieces += [[statement], []]
        else:
            pieces[-1].append(statement)
    return [_source(piece) for piece in pieces if piece]


def _source(statements: list[ast.stmt]) -> str:
    return ast.unparse(ast.Module(body=statements, type_ignores=[]))


def _is_sum(node: ast.AST | None) -> bool:
    """Whether this is a call of `sum` whose arguments are written out."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "sum"
        and not any(isinstance(each, ast.Starred) for each in node.args)
        and all(keyword.arg for keyword in node.keywords)
    )


def _check(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> None:
    parent = parents.get(node)
    match node:
        case ast.ClassDef():
            raise _RefusedError("a class")
        case _ if isinstance(node, _UNKNOWN):
            raise _RefusedError(f"a piece of code with `{type(node).__name__.lower()}`")
        case ast.Set() | ast.SetComp() | ast.Call(func=ast.Name(id="set" | "frozenset")):
            if not _is_argument(node, parent, _ORDERLESS) and not _is_looked_into(node, parent):
                raise _RefusedError("the order of a set")
        case ast.GeneratorExp():
            if not _is_argument(node, parent, _CONSUMERS):
                raise _RefusedError("a generator that is kept")
        case ast.Call(func=ast.Name(id=name)) if name in _LAZY:
            if not _is_argument(node, parent, _CONSUMERS) and not _is_iterated(node, parent):
                raise _RefusedError(f"a `{name}` that is kept")
        case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=str(text))]) if "nan" in text.lower():
            raise _RefusedError("what is no number")
        case ast.Call(func=ast.Name(id="round"), args=args, keywords=keywords) if len(args) > 1 or keywords:
            raise _RefusedError("`round` to decimals")
        case ast.Call(func=ast.Name(id="print"), keywords=keywords) if {k.arg for k in keywords} - {"sep", "end"}:
            raise _RefusedError("`print` to anything but the result")
        case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=way), args=args) if way != "escape":
            _check_pattern(way, args, node.keywords)
        case ast.Call(func=ast.Attribute(attr="replace"), keywords=[_, *_]) if sys.version_info < (3, 13):
            raise _RefusedError("`replace` with keywords")
        case ast.Call(func=ast.Attribute(value=text, attr="format")) if not _is_unformatted(text):
            raise _RefusedError("`format` with more than the places of values")
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name)), args=args) if _names_in(args, name):
            raise _RefusedError("a value in itself")
        case ast.Name(id=name):
            _check_name(node, name, parent)
        case ast.Attribute(attr=name):
            if name.startswith("_"):
                raise _RefusedError(f"`{name}`")
            if isinstance(node.value, ast.Name) and node.value.id == "math" and name in _INEXACT:
                raise _RefusedError(f"`math.{name}`")
            if isinstance(node.value, ast.Name) and (known := _MODULES.get(node.value.id)) and name not in known:
                raise _RefusedError(f"`{node.value.id}.{name}`")
            if isinstance(node.value, ast.Name) and node.value.id == "math" and not hasattr(math, name):
                raise _RefusedError(f"`math.{name}`")
            if not isinstance(node.ctx, ast.Load):
                raise _RefusedError("setting an attribute")
        case ast.Import(names=names):
            for alias in names:
                if alias.name not in _MODULES or (alias.asname and _MODULES[alias.name]):
                    raise _RefusedError(f"`import {alias.name}`")
        case ast.ImportFrom(module=module, names=names):
            for alias in names:
                newer = module == "math" and not hasattr(math, alias.name)
                if module not in ("math", "typing") or alias.name in ("*", *_INEXACT) or newer:
                    raise _RefusedError(f"`from {module} import {alias.name}`")
        case ast.ExceptHandler(name=str(name)):
            raise _RefusedError(f"the text of an error (`as {name}`)")
        case ast.Dict(keys=keys) if any(map(_is_odd_key, keys)):
            raise _RefusedError("a key that is no whole number")
        case ast.Subscript(slice=key, ctx=ast.Store()) if _is_odd_key(key):
            raise _RefusedError("a key that is no whole number")
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr() | ast.BitXor() | ast.Sub()) if any(map(_is_view, ast.walk(node))):
            raise _RefusedError("a set of keys")
        case ast.Assign(targets=targets, value=value) if any(_names_in([value], name) for name in _changed(targets)):
            raise _RefusedError("a value in itself")
        case ast.Constant(value=str(text)) if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise _RefusedError("half a character")
        case ast.Constant(value=str(text)) if any(letter.isdigit() and not letter.isascii() for letter in text):
            raise _RefusedError("a digit of another script")
        case ast.FunctionDef(decorator_list=[_, *_]):
            raise _RefusedError("a decorator")
        case ast.arguments():
            if not all(isinstance(value, ast.Constant) for value in (*node.defaults, *filter(None, node.kw_defaults))):
                raise _RefusedError("a default that is no constant")
        case _:
            pass


def _check_name(node: ast.Name, name: str, parent: ast.AST | None) -> None:
    if not isinstance(node.ctx, ast.Load):
        if name in _ALL_BUILTINS or name in _MODULES or name in _OURS or name.startswith("__"):
            raise _RefusedError(f"another meaning of `{name}`")
        return
    if name.startswith("__") and name != "__name__":
        raise _RefusedError(f"`{name}`")
    if name in _ALL_BUILTINS and name not in _BUILTINS and name != "__name__":
        raise _RefusedError(f"`{name}`")
    if _COMPENSATED and name == "sum" and not (_is_sum(parent) and cast("ast.Call", parent).func is node):
        raise _RefusedError("`sum` in another way than `sum(items)`")
    if name in _KINDS and not (isinstance(parent, ast.Call) and parent.func is node):
        raise _RefusedError(f"`{name}`")
    if name in _MODULES and not isinstance(parent, ast.Attribute):
        raise _RefusedError(f"the module `{name}` as a value")


def _check_pattern(way: str, args: list[ast.expr], keywords: list[ast.keyword]) -> None:
    """Patterns are to be written out; those that match nothing at all are taken otherwise."""
    written = _written(args[0]) if args else None
    if not isinstance(written, str) or keywords or len(args) > 3:
        raise _RefusedError(f"`re.{way}` with what is not written out")
    try:
        pattern = re.compile(written)
    except (re.error, RecursionError, OverflowError):
        return
    if any(found.start() == found.end() for text in _TEXTS for found in pattern.finditer(text)):
        raise _RefusedError("a pattern that matches nothing")
    if way == "sub":
        _check_replacement(args[1] if len(args) > 1 else None, pattern.groups)


def _is_unformatted(text: ast.expr) -> bool:
    """Whether a text is a literal with places for values and without formats."""
    return (
        isinstance(text, ast.Constant) and isinstance(text.value, str) and not re.search(r"\{[^{}]*[:.[]", text.value)
    )


def _written(pattern: ast.expr) -> Any:
    """A constant, or the literal parts of an f-string."""
    match pattern:
        case ast.Constant(value=value):
            return value
        case ast.JoinedStr(values=parts):
            return "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))
        case _:
            return None


def _check_replacement(given: ast.expr | None, groups: int) -> None:
    match given:
        case ast.Constant(value=str(text)):
            if any(int(number) > groups for number in re.findall(r"\\([0-9]+)", text)) or "\\g" in text:
                raise _RefusedError("such a replacement")
        case ast.Name() | ast.Lambda():
            return
        case _:
            raise _RefusedError("a replacement that is not written out")


def _check_definitions(statements: Sequence[ast.stmt]) -> None:
    """A function is kept as its source, so other bindings of it would be lost."""
    nodes = [node for top in statements for node in ast.walk(top)]
    bound = Counter(node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    bound.update(node.name for node in nodes if isinstance(node, ast.FunctionDef))
    for top in statements:
        match top:
            case ast.FunctionDef(name=name) | ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda()):
                if bound[name] > 1:
                    raise _RefusedError(f"`{name}`, which is bound twice,")
            case _:
                pass


def _is_argument(node: ast.AST, parent: ast.AST | None, of: frozenset[str]) -> bool:
    """Whether a node is the first argument of a call of one of these."""
    match parent:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[first, *_]):
            return first is node and name in of
        case _:
            return False


def _is_looked_into(node: ast.AST, parent: ast.AST | None) -> bool:
    match parent:
        case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[other]):
            return other is node
        case _:
            return False


def _is_iterated(node: ast.AST, parent: ast.AST | None) -> bool:
    return isinstance(parent, (ast.For, ast.comprehension)) and parent.iter is node


def _is_odd_key(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and isinstance(key.value, (bool, float))


def _is_view(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in ("keys", "items")


def _names_in(nodes: Sequence[ast.AST], name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in nodes)


def _changed(targets: Sequence[ast.AST]) -> list[str]:
    """Names whose values are changed by an assignment to parts of them."""
    found: list[Any] = [target.value for target in targets if isinstance(target, ast.Subscript)]
    return [value.id for value in found if isinstance(value, ast.Name)]
