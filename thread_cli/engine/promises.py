"""Children whose results are variables: the thread goes on, and waits for them where it first needs one.

The episode has the same outcome as if the thread waited for each child at once. The thread reads the same text in both
cases, the name of the variable. No name that a child may bind is read, deleted or handed down before that child has
joined, and no child changes a name that the thread itself has bound.
"""

from __future__ import annotations

import ast
import builtins
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import MalformedOutput
from thread_cli.contracts.events import Awaiting, Joined
from thread_cli.contracts.protocol import Child, Result, Spawn
from thread_cli.engine.joining import said
from thread_cli.engine.namespace import references
from thread_cli.protocols.code import find_code

if TYPE_CHECKING:
    from collections.abc import Iterable

    from thread_cli.contracts.model import Completion
    from thread_cli.contracts.protocol import Move
    from thread_cli.engine.episode import Recorder
    from thread_cli.engine.family import Family
    from thread_cli.engine.namespace import Namespace
    from thread_cli.engine.pending import Pending
    from thread_cli.engine.thread import Thread

__all__ = ["needed_by_code", "needed_by_move", "settle"]

_INDIRECT: Final = frozenset(("eval", "exec", "globals", "locals", "vars"))
_NEVER_CHANGED: Final = "task"


def needed_by_code(pending: Pending[Thread], thread: Thread, written: Completion) -> list[str]:
    """Handles of the children that have to join before the code in a completion runs."""
    if not pending.names:
        return []
    nodes = [
        node
        for code in find_code(thread.protocol.body(written.text, written.stop))
        for statement in code.statements
        for node in ast.walk(statement)
    ]
    named = [node for node in nodes if isinstance(node, ast.Name)]
    deleted = any(isinstance(node.ctx, ast.Del) for node in named)
    read = {node.id for node in named if isinstance(node.ctx, ast.Load)}
    read |= {node.target.id for node in nodes if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)}
    if deleted or not _INDIRECT.isdisjoint(read):
        return [*pending.names]
    return _needed(pending, thread.names, {node.id for node in named}, read)


def needed_by_move(pending: Pending[Thread], thread: Thread, move: Move) -> list[str]:
    """Handles of the children that have to join before a move is carried out.

    All of them, unless it spawns another child whose result is a variable.
    """
    if not isinstance(move, Spawn) or not all(isinstance(line, Child) and line.name for line in move.lines):
        return [*pending.names]
    names = {name for line in move.lines for name in references(said(line))}
    return _needed(pending, thread.names, names, names)


def _needed(pending: Pending[Thread], own: Namespace, names: Iterable[str], read: Iterable[str]) -> list[str]:
    """The children up to the last one whose variable is among `names`; all where a child may bind one that is read."""
    promised = set(pending.names.values())
    for name in read:
        known = own.binds(name) or name == _NEVER_CHANGED or (hasattr(builtins, name) and name not in own.values)
        if name not in promised and not known:
            return [*pending.names]
    wanted = {*names} & promised
    last = max((int(handle) for handle, name in pending.names.items() if name in wanted), default=-1)
    return [handle for handle in pending.names if int(handle) <= last]


async def settle(
    recorder: Recorder, family: Family, thread: Thread, pending: Pending[Thread], handles: list[str]
) -> None:
    """Wait for children, join their worlds and names in the order of spawning, and bind results to their variables.

    Raises as `Stage.join` does.
    """
    children = [pending.children[handle] for handle in handles]
    paths = tuple([f"{thread.path}.{handle}" for handle in handles])
    recorder.emit(Awaiting, thread, children=paths, which="all")
    results = await family.joined(thread, children)
    thread.names.join([child.names for child in children if not isinstance(child, Result)])
    for handle, child, result in zip(handles, children, results, strict=True):
        text = result.text if isinstance(child, Result) else _written_out(child.names, result.text)
        thread.names.bind({pending.names[handle]: _value(text)})
    pending.take(handles)
    recorder.emit(Joined, thread, children=paths, text="")


def _written_out(names: Namespace, text: str) -> str:
    """A result with the values of the variables that the child has named in it."""
    try:
        return names.substitute(text)
    except MalformedOutput:
        return text


def _value(text: str) -> str | int | float:
    """A number where the text is how Python spells it, so that code may count with results; else the text."""
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if repr(number) == text:
            return number
    return text
