"""TextCraft's experts. Both know no more than the threads of a model would, and spawn one thread for each item.

`TextCraftTeacher` copies names and counts from the lines in front of it, as the few-shot prompts do. `TerseTeacher`
leaves all of that to Python, for models too small to copy without a slip: what it writes is nearly the same in all
threads, and what it has to decide is shown by one word in each answer.
"""

from __future__ import annotations

import re

from thread_cli.models.teacher import Course, Teacher

__all__ = ["TerseTeacher", "TextCraftTeacher"]


class TextCraftTeacher(Teacher):
    """Plays as the threads in `prompts/textcraft/default.jinja` do, and knows no more than they."""

    def solve(self, context: str) -> Course:
        if goal := _GOAL.search(context):
            return _main(goal["item"])
        if wish := _WISH.search(context):
            if wish["command"] is None:
                return _get(wish["item"], int(wish["need"]))
            return _craft(wish["item"], int(wish["need"]), int(wish["rounds"]), wish["command"])
        return _lost()


_GOAL = re.compile(r"^Goal: craft (?P<item>.+)\.\s*(=>)?\s*\Z", re.MULTILINE)
_WISH = re.compile(
    r"^obtain (?P<need>\d+) (?P<item>[^:]+): "
    r"(get|(?P<rounds>\d+) x (?P<command>craft .+ using .+?))\s*(=>)?\s*\Z"
)
_LOOK_UP = r"""The commands go into a dictionary by what they make, the shortest one where several make the same.
commands = [line for line in task.split('\n') if line.startswith('craft ')]
recipes = {c.split(' using ')[0].split(' ', 2)[2]: c for c in sorted(commands, key=len)[::-1]}
makes = {name: int(recipes[name].split()[1]) for name in recipes}
"""
_COMPARE = r"""held = {h.split('] (')[0]: int(h.split('] (')[1].split(')')[0]) for h in observation.split('[')[1:]}
takes = {p.split(' ', 1)[1]: left * int(p.split()[0]) for p in parts.split(', ')}
lacks = {name: takes[name] - held.get(name, 0) for name in takes if takes[name] > held.get(name, 0)}
"""


def _spawn(opening: str, wish: str) -> str:
    return (
        f"item, need = {wish}\n"
        'how = f"{-(-need // makes[item])} x {recipes[item]}" if item in recipes else "get"\n'
        f"{opening}, obtain {{need}} {{item}}: {{how}} "
    )


def _main(item: str) -> Course:
    answer = yield f"{_LOOK_UP}\n{_spawn('The goal', f'{item!r}, 1')}"
    return f"print({answer.text!r})\n"


def _get(item: str, need: int) -> Course:
    answer = yield f"No command makes this by that name.\n> get {need} {item} "
    if answer.text.startswith("Got"):
        return f"print('{need} {item}')\n"
    kind = f"[name for name in recipes if name.endswith(' {item}')][0]"
    spawn = _spawn("Instead", f"{kind}, {need}")
    answer = yield f"Any kind of {item} will do, so one that a command makes.\n{spawn}"
    return f"print({answer.text!r})\n" if _COUNTED.match(answer.text) else _give_up(item, need)


def _craft(item: str, need: int, rounds: int, command: str) -> Course:
    head, _, listed = command.partition(" using ")
    parts: list[tuple[int, str]] = []
    for count, name in map(_counted, listed.split(", ")):
        opening = "Next" if parts else "First"
        answer = yield _spawn(opening, f"{name!r}, {rounds} * {count}")
        if not _COUNTED.match(answer.text):
            return _give_up(item, need)
        parts.append((count, _counted(answer.text)[1]))
    using = ", ".join(f"{count} {name}" for count, name in parts)
    done = 0
    while done < rounds:
        answer = yield f"Round {done + 1} of {rounds}.\n> {head} using {using} "
        if answer.text.startswith("Crafted"):
            done += 1
            continue
        yield "Something is missing, so a look at what is there.\n> inventory "
        answer = yield (
            "Python compares it with what the rounds that are left take.\n"
            f"left, parts = {rounds} - {done + 1} + 1, {using!r}\n"
            + _COMPARE
            + _spawn("To make up for it", "list(lacks.items())[0]")
        )
        if not _COUNTED.match(answer.text):
            return _give_up(item, need)
    return f"print('{need} {item}')\n"


class TerseTeacher(Teacher):
    """Writes threads in which Python carries every name and every count."""

    def solve(self, context: str) -> Course:
        if _GOAL.search(context):
            return _terse_main()
        if wish := _WISH.search(context):
            return _terse_get() if wish["command"] is None else _terse_craft(int(wish["rounds"]))
        return _lost()


_HOW = 'f"{-(-need // makes[item])} x {recipes[item]}" if item in recipes else "get"'
_TERSE_MAIN = rf"""commands = [c for c in task.split('\n') if c.startswith('craft ')]
recipes = {{c.split(' using ')[0].split(' ', 2)[2]: c for c in sorted(commands, key=len)[::-1]}}
makes = {{n: int(recipes[n].split()[1]) for n in recipes}}
item, need, todo = task.split('Goal: craft ')[1].strip('.'), 1, []
how = {_HOW}
"""
_TERSE_START = "name, wanted, rest = item, need, 'more' if todo else 'all'\n"
_TERSE_END = "print(f'{wanted} {got}, {rest}')\n"
_TERSE_PARTS = f"""times, command = how.split(' x ', 1)
parts = [p.split(' ', 1) for p in command.split(' using ')[1].split(', ')]
todo = [(item, int(times) * int(n)) for n, item in parts]
todo = [(item, need, {_HOW}) for item, need in todo]
using = []
"""
_TERSE_PART = "item, need, how = todo.pop(0)\n"
_TERSE_COMMAND = """using.append(got)
using = ', '.join(f'{n} {g}' for (n, _), g in zip(parts, using))
command = command.split(' using ')[0] + ' using ' + using
"""
_TERSE_COMPARE = rf"""pairs = [h.split(')')[0].split('] (') for h in observation.split('[')[1:]]
held = {{n: int(c) for n, c in pairs}}
takes = {{p.split(' ', 1)[1]: left * int(p.split()[0]) for p in using.split(', ')}}
lacks = {{n: takes[n] - held.get(n, 0) for n in takes if takes[n] > held.get(n, 0)}}
item, need = list(lacks.items())[0]
how = {_HOW}
"""
_TERSE_FAILED = "print('could not obtain it')\n"
_TERSE_ANSWER = re.compile(r"\d+ .+, (?P<rest>more|all)\Z")


def _terse_main() -> Course:
    yield f"{_TERSE_MAIN}The goal, obtain {{need}} {{item}}: {{how}} "
    return "print(got)\n"


def _terse_get() -> Course:
    answer = yield f"{_TERSE_START}> get {{need}} {{item}} "
    if answer.text.startswith("Got"):
        return f"got = item\n{_TERSE_END}"
    answer = yield (
        "Any kind of it will do, so one that a command makes.\n"
        f"item = [n for n in recipes if n.endswith(' ' + item)][0]\nhow = {_HOW}\n"
        "Instead, obtain {need} {item}: {how} "
    )
    return _TERSE_END if _TERSE_ANSWER.match(answer.text) else _TERSE_FAILED


def _terse_craft(rounds: int) -> Course:
    answer = yield f"{_TERSE_START}{_TERSE_PARTS}{_TERSE_PART}First, obtain {{need}} {{item}}: {{how}} "
    while (answered := _TERSE_ANSWER.match(answer.text)) and answered["rest"] == "more":
        answer = yield f"using.append(got)\n{_TERSE_PART}Next, obtain {{need}} {{item}}: {{how}} "
    if answered is None:
        return _TERSE_FAILED
    opening, done = _TERSE_COMMAND, 0
    while done < rounds:
        answer = yield f"{opening}Round {done + 1} of {rounds}.\n> {{command}} "
        opening = ""
        if answer.text.startswith("Crafted"):
            done += 1
            continue
        yield "Something is missing, so a look at what is there.\n> inventory "
        answer = yield (
            f"left = {rounds} - {done + 1} + 1\n{_TERSE_COMPARE}To make up for it, obtain {{need}} {{item}}: {{how}} "
        )
        if _TERSE_ANSWER.match(answer.text) is None:
            return _TERSE_FAILED
    return f"got = name\n{_TERSE_END}"


def _lost() -> Course:
    yield from ()
    return "print('this is no task for TextCraft')\n"


def _give_up(item: str, need: int) -> str:
    return f"print('could not obtain {need} {item}')\n"


_COUNTED = re.compile(r"(\d+) (.+)\Z")


def _counted(text: str) -> tuple[int, str]:
    count, _, name = text.partition(" ")
    return int(count), name
