"""Builds the API reference from the docstrings: `make reference` calls this.

    python tools/reference.py build/reference

The reference covers the modules that other programs import. First the docstrings are checked: every module and every
name in an `__all__` has one, and what stands under `Args:` and `Raises:` exists. Then pdoc writes a page for each
module; its warnings are errors, such as that an annotation names a type which cannot be imported. Exit code 1 after a
line for each problem.
"""

from __future__ import annotations

import ast
import builtins
import pkgutil
import re
import sys
import warnings
from importlib import import_module
from importlib.metadata import version
from inspect import Parameter
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args, get_origin

from thread_cli.distribution import NAME

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

ROOT: Final = Path(__file__).resolve().parents[1]
_TOP: Final = ("thread_cli", "thread_cli.distribution")
_PACKAGES: Final = (
    "assembly",
    "conformance",
    "contracts",
    "engine",
    "environments",
    "models",
    "protocols",
    "record",
)
"""Packages of `thread_cli` that the reference covers with their modules; a package inside one counts as a module."""
_SECTION: Final = re.compile(r"^( *)(Args|Raises):\n((?:\1 +\S.*\n?|\n)+)", re.MULTILINE)
_ENTRY: Final = re.compile(r"([*\w.]+):(?: |$)")

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules(house: Path) -> list[str]:
    """Names of the modules that the reference covers, sorted. `house` is the folder of `thread_cli`."""
    found: list[str] = [*_TOP]
    for package in _PACKAGES:
        found.append(f"thread_cli.{package}")
        found += [f"thread_cli.{package}.{module.name}" for module in pkgutil.iter_modules([str(house / package)])]
    return sorted(found)


def source_of(module: str, house: Path) -> Path:
    """The file of a module."""
    path = house.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def problems(paths: Sequence[Path], house: Path) -> list[str]:
    """What is wrong with the docstrings of the files `paths`: one line each, with file and line.

    `house` is the folder in whose files the exceptions are defined that a `Raises:` may name, beside Python's own.
    """
    known = _exceptions(house)
    return [f"{path}:{line}: {text}" for path in paths for line, text in _problems_of(path, known)]


def _problems_of(path: Path, known: Collection[str]) -> Iterator[tuple[int, str]]:
    tree = ast.parse(path.read_text("utf-8"))
    if ast.get_docstring(tree) is None:
        yield 1, "the module has no docstring"
    public = _public(tree)
    for node, after in zip_longest(tree.body, tree.body[1:]):
        for name in public.intersection(_bound(node)):
            if _docstring(node, after) is None:
                yield node.lineno, f"`{name}` is in `__all__` and has no docstring"
            for member in _members(node):
                yield from _untrue(member, known)


def _public(tree: ast.Module) -> set[str]:
    """The names in a module's `__all__`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and "__all__" in _bound(node):
            return set(ast.literal_eval(node.value))
    return set()


def _bound(node: ast.stmt) -> list[str]:
    """The names that a statement binds; imported ones are looked at where they are defined."""
    if isinstance(node, _Function | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _docstring(node: ast.stmt, after: ast.stmt | None) -> str | None:
    """A class's or function's docstring; for a constant, the text that stands below it."""
    if isinstance(node, _Function | ast.ClassDef):
        return ast.get_docstring(node)
    if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
        return after.value.value
    return None


def _members(node: ast.stmt) -> list[_Function | ast.ClassDef]:
    """A function, or a class with its methods."""
    if not isinstance(node, _Function | ast.ClassDef):
        return []
    inner = node.body if isinstance(node, ast.ClassDef) else []
    return [node, *(each for each in inner if isinstance(each, _Function))]


def _untrue(node: _Function | ast.ClassDef, known: Collection[str]) -> Iterator[tuple[int, str]]:
    """Entries under `Args:` and `Raises:` that name nothing."""
    for _, title, body in _SECTION.findall((ast.get_docstring(node) or "") + "\n"):
        entries = body.splitlines()
        margin = min(len(line) - len(line.lstrip()) for line in entries if line.strip())
        for entry in filter(None, (_ENTRY.match(line[margin:]) for line in entries)):
            name = entry[1].lstrip("*")
            if title == "Args" and name not in _parameters(node):
                yield node.lineno, f"`Args:` of `{node.name}` names `{name}`, which is no parameter"
            if title == "Raises" and not (name in known or _is_error(name)):
                yield node.lineno, f"`Raises:` of `{node.name}` names `{name}`, which is no exception"


def _parameters(node: _Function | ast.ClassDef) -> set[str]:
    if isinstance(node, ast.ClassDef):
        fields = {name for each in node.body if isinstance(each, ast.AnnAssign) for name in _bound(each)}
        makers = [each for each in node.body if isinstance(each, _Function) and each.name == "__init__"]
        return fields.union(*map(_parameters, makers))
    given = node.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return {each.arg for each in named if each is not None}


def _exceptions(house: Path) -> set[str]:
    """Names of the exceptions that the files of a folder define."""
    bases: dict[str, set[str]] = {}
    for path in house.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {ast.unparse(base) for base in node.bases}
    found: set[str] = set()
    more = set(bases)
    while more:
        more = {name for name in bases.keys() - found if any(each in found or _is_error(each) for each in bases[name])}
        found |= more
    return found


def _is_error(name: str) -> bool:
    """Whether it is the name of an exception of Python's, such as `OSError` or `asyncio.CancelledError`."""
    try:
        value = pkgutil.resolve_name(name) if "." in name else getattr(builtins, name, None)
    except (ImportError, AttributeError, ValueError):
        return False
    return isinstance(value, type) and issubclass(value, BaseException)


def build(names: Sequence[str], folder: Path) -> list[str]:
    """Write a page for each module into `folder`, and what its search box needs. Returns pdoc's warnings."""
    import pdoc.render
    from pdoc.doc import Module

    pdoc.render.configure(docformat="google", footer_text=f"{NAME} {version(NAME)}")
    imported = {name: import_module(name) for name in names}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pages = {name: Module(module) for name, module in imported.items()}
        for name, page in pages.items():
            # `thread_cli` imports its names when they are first used; pdoc looks for them without using them.
            public: list[str] = getattr(imported[name], "__all__", [])
            vars(imported[name]).update({each: getattr(imported[name], each) for each in public})
            # pdoc lists the modules of a package only where its `__all__` does.
            page.submodules = [pages[each] for each in names if each.rpartition(".")[0] == name]
            _tidy(page)
            file = folder / f"{name.replace('.', '/')}.html"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(pdoc.render.html_module(page, pages), "utf-8")
        (folder / "index.html").write_text(pdoc.render.html_index(pages), "utf-8")
        (folder / "search.js").write_text(pdoc.render.search_index(pages), "utf-8")
    return [told for warning in caught if not _of_a_named_tuple(told := str(warning.message))]


def _of_a_named_tuple(warning: str) -> bool:
    """Whether pdoc warns of the constructor that Python makes for a named tuple: its annotations name no module."""
    found = re.search(r"for ([\w.]+)\.(\w+)\.__init__\.", warning)
    kind = None if found is None else getattr(import_module(found[1]), found[2], None)
    return isinstance(kind, type) and issubclass(kind, tuple)


def _tidy(page: Any) -> None:
    """Leave out what tells a reader nothing: constructors of protocols, metadata of fields, pydantic's own markers."""
    for each in page.classes:
        if getattr(each.obj, "_is_protocol", False):
            each.members.pop("__init__", None)
        for field in each.instance_variables + each.class_variables:
            if get_origin(field.annotation) is Annotated:
                field.annotation = get_args(field.annotation)[0]
            if repr(field.default_value) == "PydanticUndefined":
                field.default_value = Parameter.empty


def main(folder: Path) -> int:
    """Check the docstrings and write the pages; returns the exit code."""
    house = ROOT / "thread_cli"
    names = modules(house)
    found = problems([source_of(name, house) for name in names], house) or build(names, folder)
    sys.stdout.write(("\n".join(found) or f"{len(names)} pages: open {folder / 'index.html'}") + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
