"""Seeded damage to texts in each wire format: what a model may write wrong, and more."""

from __future__ import annotations

import re
from random import Random

from apr_traces import GENERATED
from forking import npr_block, weaver_block
from formed import FORMED, call, thread, words

from thread_cli.contracts.model import Request

NUMBERS = [
    "0",
    "-1",
    "007",
    "1.2",
    "1",
    "2",
    "50",
    "9" * 30,
    "1" * 5000,
    "\u0661",
    "\xb2",
    "\xbd",
    "\uff11",
    "1e3",
    "one",
    "",
    "1 2",
]
STRANGE = ["\ud800", "\udfff x", "\x00", "\u2028", "\x85", "\r", "\x1b[31m", "{x}", "{{", "漢", "﷽", "\u0301" * 30]


def whole(name: str, chance: Random) -> str:
    """All that a thread may write at once, the engine's part included where a model may write that, too."""
    if name == "apr":
        nodes = [chance.randint(0, 2) for _ in range(chance.choice([1, 2, 3, 50]))]
        tail = chance.choice(
            ["", "", "", "", "No solution found.\n", "60,60 equal: Goal Reached\npath\n60,60 equal: Goal Reached\n"]
        )
        return GENERATED + call(nodes, chance.randint(1, 2)) + tail
    if name == "thread":
        return re.sub(r"=>(?:\n(?:.*\n)*?)?.*?<=\n\n", " =>\n", thread(chance).y)
    return FORMED[name](chance).y


TAGS = {
    "weaver": r"</?(?:Parallel|Outlines?|Thread|think)>|(?<=>)\d+:|\n\d+:",
    "npr": r"</?(?:guideline|plan|step|takeaway)>|(?<=>)\d+:|\n\d+:",
    "apr": r"</?(?:End )?(?:Calling )?Sub Searches>|<Start Sub Search \d+ at level \d+>|#[\d,]+|Moving to Node",
    "thread": r"=>|^- |^& |^await(?: any| all)?|\bv\d+ = |print\(|\n",
}
CLOSES = {"weaver": "</Thread>", "npr": "</step>", "apr": "\nNo solution found.\n", "thread": "\nprint('done')"}
OPENS = {"weaver": "<Parallel>\n<Outlines>", "npr": "<guideline>\n", "apr": "<Calling Sub Searches>\n", "thread": "- "}


def damaged(name: str, text: str, chance: Random) -> str:
    """The text with one to four things wrong."""
    for _ in range(chance.randint(1, 4)):
        text = damage(name, text, chance, chance.choice(KINDS))
    return text


KINDS = ["cut", "cut", "swap", "double", "drop", "drop", "number", "number", "nest", "unclosed", "empty", "insert"]
KINDS += ["repeat", "mixed", "strange", "after", "wide", "long"]


def damage(name: str, text: str, chance: Random, kind: str) -> str:
    tags = [tag.span() for tag in re.finditer(TAGS[name], text, re.MULTILINE)]
    at = chance.randint(0, len(text))
    begin, end = chance.choice(tags) if tags else (at, at)
    match kind:
        case "cut":
            return text[:at]
        case "swap" if len(tags) > 1:
            (a, b), (c, d) = sorted(chance.sample(tags, 2))
            return text[:a] + text[c:d] + text[b:c] + text[a:b] + text[d:]
        case "double":
            return text[:end] + text[begin:end] + text[end:]
        case "drop":
            return text[:begin] + text[end:]
        case "number":
            numbers = [found.span() for found in re.finditer(r"\d+", text)] or [(at, at)]
            for a, b in sorted(chance.sample(numbers, min(len(numbers), chance.randint(1, 3))), reverse=True):
                text = text[:a] + chance.choice(NUMBERS) + text[b:]
            return text
        case "nest":
            return text[:begin] + whole(name, chance) + text[begin:]
        case "unclosed":
            return text[:at] + OPENS[name] + text[at:]
        case "empty" if len(tags) > 1:
            place = chance.randrange(len(tags) - 1)
            return text[: tags[place][1]] + " " * chance.randint(0, 1) + text[tags[place + 1][0] :]
        case "insert":
            return text[:at] + chance.choice(tag_texts(chance)) + text[at:]
        case "repeat":
            return text[at:] + text[:at]
        case "mixed":
            return text[:at] + whole(chance.choice([*FORMED]), chance) + text[at:]
        case "strange":
            return text[:at] + chance.choice(STRANGE) + text[at:]
        case "after":
            return text + chance.choice([CLOSES[name], "\n\n\nand on", "\n\n\n\n\n\nPrompt:\nmore", "<think>", " =>"])
        case "wide":
            return text[:at] + widest(name) + text[at:]
        case "long":
            line = chance.choice(
                ["x", " ", "1", "1,", "<Thread>", "</step>", "=>", "Node #0,", "- ", "await 1 ", "{x}"]
            )
            return text[:at] + line * chance.choice([300, 300, 3000]) + text[at:]
        case _:
            return text


def tag_texts(chance: Random) -> list[str]:
    """Tags of all formats, as they are written where they belong."""
    return [tag for name in TAGS for tag in re.findall(TAGS[name], whole(name, chance), re.MULTILINE)] or ["=>"]


def widest(name: str) -> str:
    """Fifty threads at once."""
    many = range(50)
    blocks = {"weaver": lambda: weaver_block(*[" w"] * 50), "npr": lambda: npr_block(*[" w"] * 50)}
    blocks |= {
        "apr": lambda: call([n % 2 for n in many]),
        "thread": lambda: "\n".join(f"& go {n}" for n in many) + " =>",
    }
    return blocks[name]()


MOVES = (
    ["& do a\n& do b =>"] * 5
    + ["await any =>"] * 5
    + ["await any 0 1 =>", "await all =>", "await 0 =>", "await 1, 0 =>"]
)
MOVES += ["v0 = do it =>\nv1 = do {v0} =>", "- do c\n- do {v0} =>", "x = v0\nprint(x)", "> look =>", "```\n> a\n``` =>"]
"""What threads in THREAD's own format may do next, besides what they do in well-formed texts."""


class Malformed:
    """A script: all threads write damaged text, each time they are asked, and sometimes some that is right.

    What a thread writes depends on its path and on the length of its Y alone, so it is the same in any schedule.

    Args:
        name: the wire format.
        seed: of all that is written.
        text: what the main thread writes first.
    """

    def __init__(self, name: str, seed: int, text: str) -> None:
        self.name, self.seed, self.text = name, seed, text

    def __call__(self, request: Request) -> str:
        if request.thread == "0" and not request.y:
            return self.text
        chance = self.chance(request)
        text = self.next_text(request.thread == "0", chance)
        return damaged(self.name, text, chance) if chance.random() < 0.6 else text

    def next_text(self, main: bool, chance: Random) -> str:
        if self.name == "thread" and chance.random() < 0.5:
            return chance.choice(MOVES) + "\n" + ("" if main else CLOSES["thread"])
        text, close, body = whole(self.name, chance), CLOSES[self.name], words(chance)
        if main:
            return chance.choice([text, text[chance.randint(0, len(text)) :], "", text.rpartition("\n")[2]])
        return chance.choice([body + close, body + close, body + close, text + close, text, body, "", close])

    def chance(self, request: Request) -> Random:
        return Random(f"{self.seed} {request.thread} {len(request.y)}")
