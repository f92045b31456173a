"""Well-formed texts in each wire format, drawn at random, and the scripts by which threads write them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from apr_traces import GENERATED, START
from forking import Recites, npr_block, recited, weaver_block

from thread_cli.contracts.model import Request

LISTS: dict[str, Any] = {"several": "- ", "background": "& ", "independent": True}
"""Rules of THREAD's format with lists of children, background children and results as variables."""


class Formed(NamedTuple):
    """A well-formed text: what the main thread's Y becomes, and the script by which its threads write it."""

    rules: dict[str, Any]
    y: str
    script: Callable[[Request], str]
    task: str = "Do it."


def words(chance: Random) -> str:
    """What one thread writes: never a tag, never only blanks."""
    return " x" + "".join(chance.choices("ab 1:.\n", k=chance.randint(0, 12)))


def weaver(chance: Random, wide: int = 50) -> Formed:
    y = "".join(f"{n}.\n{weaver_block(*some(chance, wide))}\n" for n in range(chance.randint(1, 3)))
    y += "</think>\n5" * chance.randint(0, 1)
    return Formed({"protocol": "weaver", "start": "<think>", "psi": "answer"}, y, recited(y, "Thread"))


def npr(chance: Random) -> Formed:
    y = "".join(f"{n}.\n{npr_block(*some(chance, 5))}\n" for n in range(chance.randint(1, 3)))
    return Formed({"protocol": "npr", "psi": "answer:after=</takeaway>"}, y, recited(y, "step"))


def some(chance: Random, wide: int) -> list[str]:
    return [words(chance) for _ in range(chance.choice([1, 2, 3, 5, wide]))]


def apr(chance: Random) -> Formed:
    keeps = chance.random() < 0.5
    y, pieces, texts = "", list[str](), {}
    for n in range(chance.randint(1, 3)):
        nodes = [chance.randint(0, 1) for _ in range(chance.choice([1, 2, 3, 50]))]
        pieces.append((GENERATED if n == 0 else f"It is the turn {n}.\n") + call(nodes))
        y += (pieces[-1] if keeps else pieces[-1].partition("<Calling")[0]) + "<Sub Searches>\n"
        for place, node in enumerate(nodes):
            child = f"0.{len(texts)}"
            reached = chance.random() < 0.5
            where = f"Sub Search {place} at level 1 at Node #0,{node}>\n"
            path = f"The path of {child}\n60,60 equal: Goal Reached"
            texts[child] = f"\n60,60 equal: Goal Reached\n{path}\n" if reached else "\nNo solution found.\n"
            y += f"<Goal Reached in {where}{path}\n" if reached else f"<No Solution in {where}"
        y += "<End Sub Searches>\n"
    pieces.append("60,60 equal: Goal Reached\n")

    def script(request: Request) -> str:
        return texts[request.thread] if request.thread != "0" else pieces[request.y.count("<End Sub Searches>")]

    protocol = "apr:paper" if keeps else "apr"
    return Formed({"protocol": protocol, "phi": "sub_search", "psi": "sub_search"}, y + pieces[-1], script, START)


def call(nodes: list[int], level: int = 1) -> str:
    lines = [f"<Start Sub Search {n} at level {level}> Moving to Node #0,{node}\n" for n, node in enumerate(nodes)]
    return f"<Calling Sub Searches>\n{''.join(lines)}<End Calling Sub Searches>\n"


def thread(chance: Random) -> Formed:
    """All ways to spawn, and all to await, with what the engine answers to each."""
    y, born, pending = "", 0, list[int]()
    for n in range(chance.randint(1, 6)):
        y += f"x{n} = '{n}'\n" if chance.random() < 0.3 else f"Now the turn {n}.\n"
        move = chance.choice(["line", "list", "named", "background", "await", "await any", "await all", "> look"])
        if move == "> look":
            y += f"> look {n}" + answered("There is nothing here to act on")
        elif not move.startswith("await"):
            new = [*range(born, born + (chance.choice([1, 2, 3, 50]) if move in {"list", "background"} else 1))]
            mark = {"line": "", "list": "- ", "named": f"v{born} = ", "background": "& "}[move]
            results = "\n".join(("- " if len(new) > 1 else "") + f"r{child}" for child in new)
            told = {"named": f"{{v{born}}}", "background": " ".join(map(str, new))}.get(move, results)
            y += "\n".join(f"{mark}do {child}" for child in new) + answered(told)
            pending += new if move == "background" else []
            born += len(new)
        elif pending:
            # Which of several `await any` comes to depends on time: it names one, unless only one is left.
            asked = [*pending] if move == "await all" else [chance.choice(pending)]
            named = move == "await" or (move == "await any" and len(pending) > 1)
            y += move + f" {asked[0]}" * named + answered("\n".join(f"{child}: r{child}" for child in asked))
            pending = [child for child in pending if child not in asked]
    children = {f"0.{child}": f"print('r{child}')" for child in range(born)}
    return Formed({**LISTS, "psi": "printed"}, f"{y}print('end')", Recites({"0": f"{y}print('end')", **children}))


def answered(text: str) -> str:
    return f"=>\n{text}\n<=\n\n" if "\n" in text else f"=>{text}<=\n\n"


FORMED: dict[str, Callable[[Random], Formed]] = {"weaver": weaver, "npr": npr, "apr": apr, "thread": thread}
