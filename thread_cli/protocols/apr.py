"""APR's wire format (adaptive parallel reasoning, arXiv 2504.15466), as its released runtime writes and reads it.

A thread searches in prose, and spawns by a block that names nodes that it has generated:

    <Calling Sub Searches>
    <Start Sub Search 0 at level 1> Moving to Node #0,2
    <End Calling Sub Searches>

A child's context is its node, `Moving to Node #0,2`, and the node's state on the next line; it sees nothing else. The
block is removed from the parent's text, and the results stand in its place, between `<Sub Searches>` and
`<End Sub Searches>`. A child that has reached the goal repeats the path to it, and the parent reads that path alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from thread_cli.contracts.errors import MalformedOutput, UserError
from thread_cli.contracts.protocol import Child, End, Joining, Segment, Spawn
from thread_cli.protocols.formats import Format

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from thread_cli.contracts.protocol import Result, StopReason

__all__ = [
    "FORMAT",
    "OPTIONS",
    "VALUED",
    "AprProtocol",
    "apr",
    "apr_problems",
    "goal_path",
    "node_context",
    "search_result",
]

OPTIONS: Final = {
    "paper": "the block that spawns stays in the parent's text",
    "calls": "the main thread begins with this budget of sub searches",
    "tokens": "each child begins with this budget of tokens, rounded up to a multiple of 512",
    "examples": "blank lines set contexts off from the few-shot prompt",
}
"""What each option changes."""
VALUED: Final = frozenset(("calls", "tokens"))
"""The options that have a value."""

_RESULTS: Final = "<Sub Searches>"
_RESULTS_END: Final = "<End Sub Searches>"
_CALLS: Final = "<Calling Sub Searches>"
_CALLS_END: Final = "<End Calling Sub Searches>"
_GOAL: Final = "Goal Reached"
_APART: Final = "\n\n\n\n"
_BUDGET_STEP: Final = 512

_NODE: Final = r"\d+(?:,\d+)*"
_CALL_LINE: Final = rf"<Start Sub Search \d+ at level \d+> Moving to Node #{_NODE}\n"
_CALL_BLOCK: Final = re.compile(rf"{_CALLS}\n(?:{_CALL_LINE})+{_CALLS_END}\s*\Z")
_START: Final = re.compile(
    r"^[^\n]{0,80}?\bStart[ \t]{1,4}Sub[ \t]{0,4}Search(?P<head>[^\n#]{0,80}?)"
    r"Node[ \t]{0,4}#?[ \t]{0,4}(?P<node>\d+(?:[ \t]?,[ \t]?\d+)*)[ \t>.]*$",
    re.IGNORECASE | re.MULTILINE,
)
"""A line that starts a sub search, however it is misspelt."""
_LINE: Final = re.compile(
    rf"<Start Sub Search (?P<place>\d+) at level (?P<level>\d+)> Moving to Node #(?P<node>{_NODE})"
)
_LEVEL: Final = re.compile(r"level\s{0,4}(\d+)", re.IGNORECASE)
_CLOSING: Final = re.compile(r"</?\s?(?:End )?(?:Calling )?Sub Searches>|</\s?Calling[^>\n]{0,40}>", re.IGNORECASE)
_TAG: Final = re.compile(
    r"</?(?:End )?(?:Calling )?Sub Searches>|<(?:Start|Goal Reached in|No Solution in|Failed) Sub Search"
)
_GENERATED: Final = re.compile(
    rf"^Generated Node #(?P<node>{_NODE}): (?P<state>-?\d+:\[[^\]\n]*\]) Operation: (?P<operation>[^\n]*\S)",
    re.MULTILINE,
)
_MOVED: Final = re.compile(
    rf"Moving to Node #(?P<node>{_NODE})[ \t]*\n"
    r"Current State: (?P<state>-?\d+:\[[^\]\n]*\]), Operations: \[(?P<done>[^\n]*)\]"
)
_RESULT_LINE: Final = re.compile(
    r"<(?:(?:Goal Reached|No Solution) in|Failed) Sub Search (?P<place>\d+) at level (?P<level>\d+)"
    rf"(?: at Node #{_NODE})?[:>]"
)


class AprProtocol:
    """The format.

    Args:
        calls: the budget of sub searches that the main thread's text begins with, `Sub Call Budget: N `.
        tokens: the budget that each child's text begins with, `Token Budget: N `, rounded up to a multiple of 512.
        keeps_calls: the paper's behaviour: the block stays in the parent's text, and the results follow it.
        examples: whether a few-shot prompt stands before contexts, from which blank lines set them off.
    """

    stop: tuple[str, ...] = (_RESULTS, "\n\n\n")
    whole_answers = True

    def __init__(
        self, *, calls: int | None = None, tokens: int | None = None, keeps_calls: bool = False, examples: bool = False
    ) -> None:
        apart = _APART if examples else ""
        self._first = apart if calls is None else f"{apart}Sub Call Budget: {calls} "
        self._keeps_calls = keeps_calls
        self._below: AprProtocol | None = None
        """The children's format, where they begin with other words than their parent."""
        if calls is not None or tokens is not None:
            self._below = AprProtocol(keeps_calls=keeps_calls, examples=examples)
            if tokens is not None:
                self._below._first = f"{apart}Token Budget: {-(-tokens // _BUDGET_STEP) * _BUDGET_STEP} "

    def open(self, context: str) -> str:
        return f"{self._first}{context}"

    def read(self, y: str, stop: StopReason) -> Spawn | End:
        since = _since(y)
        block = _block(y[since:], listens=stop == "listen")
        if block is None:
            if stop == "listen" or (stop == "stop" and not _is_over(y)):
                # The model wrote the engine's tag in place of its own: it goes on behind its own.
                return Spawn((), join=lambda _: _CALLS, repairs=("wrong tag",))
            return End()
        if not block.nodes:
            raise MalformedOutput("a block that calls sub searches names no node")
        places = [f"{place} at level {block.level} at Node #{node}" for place, node in enumerate(block.nodes)]
        children = tuple([Child(f"Moving to Node #{node}", protocol=self._below) for node in block.nodes])
        kept = len(y.rstrip("\n")) if self._keeps_calls else since + block.at

        def join(results: Sequence[Result]) -> Joining:
            parts = _joined(results, places)
            return Joining([Segment("\n"), *parts] if self._keeps_calls else parts, kept=kept)

        return Spawn(children, join=join, repairs=block.repairs)

    def body(self, text: str, stop: StopReason) -> str:  # noqa: ARG002 - there is no code in this format
        return ""

    def join(self, results: Sequence[Result]) -> list[Segment]:
        """The text about results of no block, which an error of the engine is."""
        return [Segment("\n"), *_joined(results, [""] * len(results))]

    def answer(self, observation: str) -> str:
        return f"\n{observation}\n"


def _joined(results: Sequence[Result], places: Sequence[str]) -> list[Segment]:
    parts = [Segment(f"{_RESULTS}\n")]
    for index, (result, place) in enumerate(zip(results, places, strict=True)):
        where = f"Sub Search {place}".rstrip()
        path = None if result.failed else goal_path(result.y)
        if result.failed or not place:
            parts.append(Segment(f"<Failed {where}: {_one_line(result.text)}>\n"))
        elif path is None:
            parts.append(Segment(f"<No Solution in {where}>\n"))
        else:
            parts += [Segment(f"<{_GOAL} in {where}>\n"), Segment(path, index), Segment("\n")]
    return [*parts, Segment(f"{_RESULTS_END}\n")]


def apr(_dialect: object, options: Mapping[str, str]) -> AprProtocol:
    """The format, with some of `OPTIONS`; without any, as the released runtime has it. It has no dialects.

    Raises:
        UserError: a budget is no number from 1 on.
    """
    return AprProtocol(
        calls=_number("calls", options),
        tokens=_number("tokens", options),
        keeps_calls="paper" in options,
        examples="examples" in options,
    )


def _number(option: str, options: Mapping[str, str]) -> int | None:
    value = options.get(option)
    if value is None:
        return None
    if not (value.isdecimal() and value.isascii() and len(value) < 10 and int(value)):
        raise UserError(f"the option {option!r} of the protocol 'apr' is a number from 1 on, not {value!r}")
    return int(value)


class _Block(NamedTuple):
    """The call of sub searches that a text ends with."""

    at: int
    """Where it begins."""
    nodes: tuple[str, ...]
    level: str
    repairs: tuple[str, ...]
    """Names of its deviations from the format."""


def _since(y: str) -> int:
    """Where the text behind the newest results begins: calls before it have been carried out."""
    begun = y.rfind(_RESULTS)
    return 0 if begun < 0 else max(begun, y.find(_RESULTS_END, begun))


def _block(text: str, *, listens: bool) -> _Block | None:
    """The block that `text` ends with; None where it ends with something else.

    What follows a block has to be tags, unless the thread listens: else the thread went on by itself.
    """
    called = text.rfind(_CALLS)
    starts = [*_START.finditer(text, max(called, 0))]
    if called < 0:
        if not starts or not (listens or _only_tags(text[starts[-1].end() :])):
            return None
        return _block_of(text, starts[0].start(), starts, "")
    closed = _CLOSING.search(text, called + len(_CALLS))
    if closed is not None:
        starts = [start for start in starts if start.start() < closed.start()]
        rest = text[closed.end() :]
    else:
        rest = text[starts[-1].end() if starts else called + len(_CALLS) :]
    if not listens and not _only_tags(rest):
        return None
    return _block_of(text, called, starts, closed[0] if closed else "")


def _block_of(text: str, at: int, starts: Sequence[re.Match[str]], closing: str) -> _Block:
    levels = [found[1] for start in starts if (found := _LEVEL.search(start["head"]))]
    nodes = tuple([re.sub(r"\s", "", start["node"]) for start in starts])
    lines = [line for start in starts if (line := _LINE.fullmatch(start[0].rstrip()))]
    wrong = {
        "unopened": not text.startswith(_CALLS, at),
        "unclosed": not closing,
        "wrong tag": closing not in {"", _CALLS_END},
        "misspelt": len(lines) < len(starts),
        "misnumbered": len(lines) == len(starts) and not _are_numbered(lines),
    }
    repairs = tuple([name for name, applies in wrong.items() if applies])
    if not repairs and not _is_call(text):
        repairs = ("stray text",)
    return _Block(at, nodes, levels[0] if levels else "1", repairs)


def _only_tags(text: str) -> bool:
    return all(line.lstrip().startswith("<") for line in text.splitlines() if line.strip())


def _is_call(text: str) -> bool:
    """Whether a text ends with a block as it should be, and has no tag before that."""
    at = text.find(_CALLS)
    return (
        at >= 0
        and (at == 0 or text[at - 1] == "\n")
        and _CALL_BLOCK.match(text, at) is not None
        and _are_numbered([*_LINE.finditer(text, at)])
        and not _TAG.search(text[:at].removeprefix(_RESULTS_END))
    )


def _are_numbered(lines: Sequence[re.Match[str]]) -> bool:
    """Whether lines are numbered from 0 without a gap, and all have the same level."""
    return [line["place"] for line in lines] == [str(place) for place in range(len(lines))] and len(
        {line["level"] for line in lines}
    ) <= 1


def _is_over(y: str) -> bool:
    """Whether a text reads like the end of a search, for backends that cannot tell what ended it."""
    last = y.rstrip().rpartition("\n")[2]
    return last.endswith(_GOAL) or last.casefold().startswith("no solution found")


def _one_line(text: str) -> str:
    return " ".join(text.replace("<", "(").replace(">", ")").split())


def goal_path(y: str) -> str | None:
    """The path with which a search that has reached its goal ends: the text behind the last but one `Goal Reached`.

    None for a search that has not said twice that it has reached its goal. Tags around results of the search's own sub
    searches are not counted, and never part of the path.
    """
    lines = [line for line in y.split("\n") if not _TAG.search(line)]
    text = "\n".join(lines)
    last = text.rfind(_GOAL)
    before = text.rfind(_GOAL, 0, max(last, 0))
    return None if before < 0 else text[before + len(_GOAL) :].strip()


def search_result(y: str) -> str:
    """ψ: the path to the goal, or the last line of a search without one."""
    path = goal_path(y)
    return y.rstrip().rpartition("\n")[2] if path is None else path


def node_context(line: str, text: str) -> str:
    """ϕ: the node that a line moves to and its state, from the parent's text, its own context included.

    The line that generated the node tells its state. The released runtime believes a line `Current State` below a line
    `Moving to Node`, where its generator of traces sometimes names another node.

    Raises:
        MalformedOutput: the parent has said nothing of such a node.
    """
    node = line.rpartition("#")[2].strip()
    generated: dict[str, re.Match[str]] = {}
    for match in _GENERATED.finditer(text):
        generated.setdefault(match["node"], match)
    moved = {match["node"]: match for match in _MOVED.finditer(text)}
    operations: list[str] = []
    at = node
    while at in generated:
        operations.append(repr(generated[at]["operation"]))
        at = at.rpartition(",")[0]
    if at not in moved and node in moved:
        operations, at = [], node
    if at not in moved:
        raise MalformedOutput(f"no line generates Node #{node}")
    state = generated[node]["state"] if operations else moved[at]["state"]
    done = [moved[at]["done"]] if moved[at]["done"].strip() else []
    return f"Moving to Node #{node}\nCurrent State: {state}, Operations: [{', '.join([*done, *reversed(operations)])}]"


def apr_problems(text: str, options: Container[str] = ()) -> tuple[str, ...]:  # noqa: ARG001
    """The faults of the tags of a thread's text, each in a word or two; empty: there are none. No option changes them.

    Right are blocks of calls and of results that are closed, numbered from 0 without a gap, of one level, and hold
    nothing else. A call is followed by its results, as in the paper's text, or by nothing, and no other tag stands
    anywhere. The released code has no such rule; these are the properties that all of its traces have.
    """
    problems: list[str] = []
    inside, called = "", False
    numbered: list[re.Match[str]] = []
    for line in text.split("\n"):
        if called and line.strip() and line != _RESULTS:
            problems.append("text behind a call")
            called = False
        if line in {_CALLS, _RESULTS}:
            problems += ["unclosed"] if inside else []
            inside, called, numbered = line, False, []
        elif line in {_CALLS_END, _RESULTS_END}:
            problems += _closing_problems(inside, line, numbered)
            inside, called = "", line == _CALLS_END
        elif inside and (match := (_LINE.fullmatch if inside == _CALLS else _RESULT_LINE.match)(line)):
            numbered.append(match)
        elif inside == _CALLS:
            problems.append("text in a call")
        elif _TAG.search(line) or _START.match(line):
            problems.append("a tag outside a block")
    return tuple(dict.fromkeys([*problems, *(["unclosed"] if inside else [])]))


def _closing_problems(inside: str, closing: str, numbered: Sequence[re.Match[str]]) -> list[str]:
    if not inside:
        return ["unopened"]
    wrong = {
        "wrong tag": closing != {_CALLS: _CALLS_END, _RESULTS: _RESULTS_END}[inside],
        "empty": not numbered,
        "misnumbered": not _are_numbered(numbered),
    }
    return [name for name, applies in wrong.items() if applies]


FORMAT: Final = Format(
    "APR: a block that names nodes spawns a thread for each, and is replaced by their results",
    apr,
    OPTIONS,
    VALUED,
    {"phi": "sub_search", "psi": "sub_search"},
    apr_problems,
)
"""APR's format, as prompts name it."""
