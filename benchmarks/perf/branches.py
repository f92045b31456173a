"""Parallel-Probe against the majority vote, online: the same questions, seeds and model; all probes are counted.

    python benchmarks/perf/branches.py play QUESTIONS.jsonl --model llama:FILE.gguf --first 40 --count 40 -o play.jsonl
    python benchmarks/perf/branches.py record QUESTIONS.jsonl --model llama:FILE.gguf --count 40 -o recorded.jsonl
    python benchmarks/perf/branches.py choose recorded.jsonl

`play` answers each question by both methods, each with a model of its own, so that neither finds the other's tokens
cached, and writes a line per question; the same command goes on where it was stopped. `record` writes all branches to
their ends, with a probe every 16 tokens, as lines of the format that `benchmarks/parallel_probe.py` reads. `choose`
compares settings on these. A file of questions has a JSON object a line, with `question`, and `answer` as GSM8K has it,
whose last word is the right number.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from thread_cli.assembly.branching import arrange
from thread_cli.assembly.config import Config
from thread_cli.assembly.playing import Models, environment_for, executor_for, interpreter_for
from thread_cli.assembly.watchers import open_watchers
from thread_cli.contracts.environment import Task
from thread_cli.contracts.errors import UserError
from thread_cli.contracts.events import Generated, ThreadEnded
from thread_cli.protocols.answers import answer_in, likeness, most_frequent
from thread_cli.protocols.prompt import Prompt, Rules
from thread_cli.watchers.decisions import Decisions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_cli.contracts.events import Event

_FINEST: Final = 16
"""Tokens between two recorded probes."""
_EVALUATED: Final = 4
"""Tokens that a probe has evaluated: its opening, and the last one of the branch."""
_OPENING: Final = "\nAnswer:"
_EXAMPLES: Final = (
    (
        "A shelf holds 4 boxes with 12 pencils in each. Mira takes 9 pencils for her class. How many are left?",
        """First, count the pencils. There are 4 boxes with 12 pencils in each, so there are 4 * 12 = 48 pencils.
Next, Mira takes 9 pencils away, so 48 - 9 = 39 pencils are left.
The result is 39.
Let me check this. With the 9 pencils of Mira, 39 pencils are 39 + 9 = 48 pencils again. Divided among 4 boxes, that is
48 / 4 = 12 pencils in each box, as the problem says. The question asks for the pencils that are left, so 39 is right.
Let me check it in another way. If Mira took her pencils from one box, it would keep 12 - 9 = 3 pencils. The other
3 boxes are full and hold 3 * 12 = 36 pencils. Together that is 36 + 3 = 39 pencils, the same as before. Both agree.
Answer: 39""",
    ),
    (
        "Tom reads 15 pages on Monday and twice as many on Tuesday. His book has 80 pages. How many are left to read?",
        """First, find the pages of Tuesday. Twice as many as 15 is 2 * 15 = 30 pages.
Next, add both days. On Monday and Tuesday Tom reads 15 + 30 = 45 pages.
Then take these from the book. There are 80 - 45 = 35 pages left.
The result is 35.
Let me check this. The pages of both days and the pages left have to make the book: 15 + 30 + 35 = 80, which is right.
On Tuesday he reads 30 pages, and 30 / 15 = 2, so these are twice as many. The question asks for the pages left: 35.
Let me check it in another way. After Monday there are 80 - 15 = 65 pages left. On Tuesday Tom reads 30, and then
there are 65 - 30 = 35 pages left, the same as before. Both ways agree.
Answer: 35""",
    ),
    (
        "A ticket costs $8, and children pay half. How many dollars do 2 adults and 3 children pay?",
        """First, find the price for a child. Half of 8 dollars is 8 / 2 = 4 dollars.
Next, find what the adults pay. That is 2 * 8 = 16 dollars.
Then find what the children pay. That is 3 * 4 = 12 dollars.
Together they pay 16 + 12 = 28 dollars.
The result is 28.
Let me check this. Three children at half the price pay as much as 1.5 adults. So it is the price of 2 + 1.5 = 3.5
adults, and 3.5 * 8 = 28 dollars. The question asks for what all of them pay, so 28 is right.
Let me check it in another way. If all 5 people paid the full price, they would pay 5 * 8 = 40 dollars. Each of the 3
children saves 4 dollars, which is 3 * 4 = 12 dollars. So they pay 40 - 12 = 28 dollars, the same as before. Both agree.
Answer: 28""",
    ),
)
_GRID: Final = {
    "distance": (16, 32, 48, 64, 80, 96),
    "warm_up": (0, 1, 2, 3, 4, 5, 6),
    "patience": (1, 2, 3, 4, 6, 10**6),
    "disagreements": (1, 2, 3, 4, 10**6),
}


def prompt() -> Prompt:
    """A few-shot prompt for word problems, in THREAD's format, whose threads spawn nothing."""
    rules = Rules(psi="last_line", code_errors="hide")
    wire = rules_format(rules)
    shown = "".join(f"{wire.open(question)}{answer}\n{rules.end}" for question, answer in _EXAMPLES)
    return Prompt("word-problems", f"Word problems are solved step by step, and each result is checked.{shown}", rules)


def rules_format(rules: Rules) -> Any:
    """The wire format of a prompt with these rules."""
    return Prompt("", "", rules).protocol()


class Tally:
    """A sink that counts tokens, and keeps what each thread wrote and returned."""

    def __init__(self) -> None:
        self.generated = self.evaluated = self.repeated = 0
        self.tokens: dict[str, int] = {}
        self.results: dict[str, str] = {}
        self.ends: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, Generated):
            self.generated += event.generated_tokens
            self.evaluated += event.prompt_tokens - event.cached_tokens
            self.repeated += event.repeated_tokens
            self.tokens[event.thread] = self.tokens.get(event.thread, 0) + event.generated_tokens
        elif isinstance(event, ThreadEnded):
            self.results[event.thread] = "" if event.failed else answer_in(event.result or "")
            self.ends[event.thread] = str(event.how)


class Method:
    """One way of answering, with a model of its own that stays loaded."""

    def __init__(self, args: argparse.Namespace, settings: dict[str, Any] | None) -> None:
        watch = {} if settings is None else {"watch": "parallel-probe", "watchers": {"parallel-probe": settings}}
        self._config = Config.of(
            model={"spec": args.model, "temperature": args.temperature, "context": args.cells},
            branches=args.branches,
            seed=args.seed,
            limits={"max_tokens": args.max_tokens, "wall_time": None, "calls": 1000},
            **watch,
        )
        self.models = Models(self._config.model)
        self._prompt = prompt()

    async def answer(self, question: str) -> tuple[str, Tally, float]:
        """The answer to a question, with its tokens and seconds."""
        config, task, tally = self._config, Task("question", question), Tally()
        environment = environment_for(config)
        interpreter = interpreter_for(config, environment, task)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(environment.close)
            stack.push_async_callback(interpreter.close)
            model = await stack.enter_async_context(self.models.use(environment, task))
            arranged = arrange(
                model,
                limits=config.limits,
                watchers=open_watchers(config),
                branches=config.branches,
                protocol=None,
                plain=self._prompt.protocol(),
            )
            executor = executor_for(
                config.model_copy(update={"limits": arranged.limits}),
                model=arranged.model,
                prompt=self._prompt,
                interpreter=interpreter,
                environment=environment,
                sinks=[tally],
                protocol=arranged.protocol,
                watchers=arranged.watchers,
            )
            began = time.monotonic()
            episode = await executor.run(task)
            return episode.answer, tally, time.monotonic() - began


def questions(path: Path, first: int, count: int) -> list[tuple[int, str, str]]:
    """Number, text and right answer of so many questions, the first of them number `first`."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    if first + count > len(rows):
        raise UserError(f"{path} has {len(rows)} questions")
    chosen = list(enumerate(rows))[first : first + count]
    return [(number, row["question"], row["answer"].split()[-1]) for number, row in chosen]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


async def play(args: argparse.Namespace) -> None:
    """Answer questions by both methods, and print the sums of all that are in the file."""
    settings = {name: getattr(args, name) for name in _GRID} | {
        "opening": args.opening,
        "stop": "\n",
        "longest": args.longest,
    }
    about = {"settings": settings, **{name: getattr(args, name) for name in ("seed", "branches", "max_tokens")}}
    known = {row["number"] for row in lines(args.output) if row["about"] == about}
    methods = {"majority": Method(args, None), "probe": Method(args, settings)}
    try:
        for number, question, gold in questions(args.questions, args.first, args.count):
            if number in known:
                continue
            row: dict[str, Any] = {"number": number, "gold": gold, "about": about}
            for name, method in methods.items():
                if not known and number == args.first:
                    await method.answer("How much is 1 + 1?")  # the few-shot prompt is evaluated before the first one
                answer, tally, seconds = await method.answer(question)
                row[name] = {
                    "answer": answer,
                    "right": likeness(answer) == likeness(gold),
                    "generated": tally.generated,
                    "evaluated": tally.evaluated,
                    "repeated": tally.repeated,
                    "pruned": sum(how == "pruned" for how in tally.ends.values()),
                    "seconds": round(seconds, 1),
                }
            with args.output.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps({name: row[name] for name in ("number", "gold", *methods)}), flush=True)
    finally:
        for method in methods.values():
            await method.models.close()
    report([row for row in lines(args.output) if row["about"] == about])


def report(rows: Sequence[dict[str, Any]]) -> None:
    """Print how many answers were right, and the tokens, of both methods."""
    tokens = {}
    for name in ("majority", "probe"):
        found = [row[name] for row in rows]
        written, read = (sum(each[key] for each in found) for key in ("generated", "evaluated"))
        tokens[name] = written + read
        right, seconds = sum(each["right"] for each in found), sum(each["seconds"] for each in found)
        print(f"{name}: {right} of {len(found)} right; {written:,} tokens written, {read:,} evaluated; {seconds:.0f} s")
    if tokens["majority"]:
        print(f"tokens of probe / majority: {tokens['probe'] / tokens['majority']:.3f}")


async def record(args: argparse.Namespace) -> None:
    """Write all branches of questions to their ends, with what each probe answered."""
    known = {row["number"] for row in lines(args.output)}
    never = {"patience": 10**6, "disagreements": 10**6, "warm_up": 10**6}
    method = Method(
        args, {"distance": _FINEST, "opening": args.opening, "stop": "\n", "longest": args.longest, **never}
    )
    try:
        for number, question, gold in questions(args.questions, args.first, args.count):
            if number in known:
                continue
            _, tally, seconds = await method.answer(question)
            branches: list[Any] = []
            for branch in range(args.branches):
                path, answers = f"0.{branch}", []
                while (probe := f"{path}.{len(answers)}") in tally.results:
                    answers.append(tally.results[probe])
                final = tally.results[path] if tally.ends[path] == "returned" else None
                branches.append([answers, tally.tokens.get(path, 0), final])
            probes = {path: tokens for path, tokens in tally.tokens.items() if path.count(".") == 2}
            row = {
                "number": number,
                "gold_answer": gold,
                "probe_freq": _FINEST,
                "each_branch": branches,
                "probe_tokens": sum(probes.values()) / max(1, len(probes)),
                "evaluated": tally.evaluated,
            }
            with args.output.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(number, gold, f"{sum(each[1] for each in branches)} tokens, {seconds:.0f} s", flush=True)
    finally:
        await method.models.close()


def simulated(row: dict[str, Any], distance: int, **settings: int) -> tuple[str, float]:
    """The answer that these settings would find, and the tokens that they would take, probes included."""
    branches, every = row["each_branch"], distance // _FINEST
    answers = [[*map(likeness, answers[every - 1 :: every])] for answers, _, _ in branches]
    decisions = Decisions(len(branches), **settings)
    last: list[int | None] = [None] * len(branches)
    probe = 0
    while True:
        decisions.drop(n for n, (_, _, final) in enumerate(branches) if final is None and probe >= len(answers[n]))
        done = [probe >= len(each) for each in answers]
        current = [
            (each[probe] if not over else likeness(final or "")) or n
            for n, (each, over, (_, _, final)) in enumerate(zip(answers, done, branches, strict=True))
        ]
        if probe:
            for branch in decisions.step(current, done):
                last[branch] = probe
        if all(done[branch] for branch in decisions.standing) or (decisions.over and isinstance(decisions.winner, str)):
            break
        probe += 1
    cost = 0.0
    for n, (_, tokens, _) in enumerate(branches):
        asked = min(len(answers[n]), (probe if last[n] is None else last[n]) + 1)
        cost += min(tokens, (asked if asked < len(answers[n]) or not done[n] else 10**9) * distance)
        cost += asked * (row["probe_tokens"] + _EVALUATED)
    return decisions.winner if isinstance(decisions.winner, str) else "", cost


def choose(args: argparse.Namespace) -> None:
    """Print settings by what they would have cost and found on recorded branches, the best ones first."""
    rows = lines(args.recorded)
    plain = sum(tokens for row in rows for _, tokens, _ in row["each_branch"])
    golds = [likeness(row["gold_answer"]) for row in rows]
    votes = [
        likeness(most_frequent(final for _, _, final in row["each_branch"] if final is not None) or "") for row in rows
    ]
    right = sum(vote == gold for vote, gold in zip(votes, golds, strict=True))
    print(f"majority: {right} of {len(rows)} right, {plain:,} tokens written")
    found: list[tuple[int, int, float, dict[str, int]]] = []
    for values in product(*_GRID.values()):
        settings = dict(zip(_GRID, values, strict=True))
        answers, costs = zip(*(simulated(row, **settings) for row in rows), strict=True)
        hits = sum(answer == gold for answer, gold in zip(answers, golds, strict=True))
        same = sum(answer == vote for answer, vote in zip(answers, votes, strict=True))
        if sum(costs) > args.most * plain:
            continue
        found.append((-min(hits, right), -same, sum(costs) / plain, settings))
    for hits, same, ratio, settings in sorted(found, key=lambda each: each[:3])[: args.show]:
        print(f"{-hits} right, {-same} as the vote, {ratio:.3f} of the tokens: {settings}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("play", "record"):
        command = commands.add_parser(name)
        command.add_argument("questions", type=Path)
        command.add_argument("--model", required=True)
        command.add_argument("--first", type=int, default=0)
        command.add_argument("--count", type=int, default=40)
        command.add_argument("--branches", type=int, default=16)
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--temperature", type=float, default=0.6)
        command.add_argument("--max-tokens", type=int, default=500)
        command.add_argument("--cells", type=int, default=16384, help="KV cells")
        command.add_argument("--opening", default=_OPENING)
        command.add_argument("--longest", type=int, default=8, help="tokens of an answer to a probe")
        command.add_argument("-o", "--output", type=Path, required=True)
        for setting, default in (("distance", 48), ("warm_up", 1), ("patience", 2), ("disagreements", 1)):
            if name == "play":
                command.add_argument(f"--{setting.replace('_', '-')}", type=int, default=default)
    chooser = commands.add_parser("choose")
    chooser.add_argument("recorded", type=Path)
    chooser.add_argument("--show", type=int, default=10)
    chooser.add_argument(
        "--most", type=float, default=0.68, help="of the majority's tokens; settings above are left out"
    )
    args = parser.parse_args()
    try:
        if args.command == "choose":
            choose(args)
        else:
            asyncio.run((play if args.command == "play" else record)(args))
    except (OSError, UserError, ValueError) as error:
        print(f"branches: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
