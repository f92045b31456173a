"""Episodes as the displays are told them."""

from thread_cli.contracts.errors import Boundary, Status
from thread_cli.contracts.events import (
    Acted,
    CodeRan,
    Corrected,
    EpisodeEnded,
    EpisodeStarted,
    Failed,
    Generated,
    Generating,
    Joined,
    Observed,
    Spawned,
    ThreadEnded,
    ThreadStarted,
    Totals,
)
from thread_cli.display import TreeState

HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07\x1b[31mred\x1b[0m \x9b1A[bold]not markup[/bold] \u202egnihton\u202c a\u200db\r\nnext\x08\x7f"
    "\ttab z" + "\u0301" * 500 + " 漢字かな交じり文" * 5 + " 👩‍👩‍👧👍🏽 \ud800 \x1b]8;;http://x\x1b\\link\x1b"
)


class Story:
    """Writes the events of an episode, as the engine would."""

    def __init__(self, cost=None):
        self.events, self.time, self.cost, self.totals = [], 0.0, cost, Totals()

    def add(self, kind, thread="0", **fields):
        self.time += 0.125
        parent = thread.rpartition(".")[0] or None
        cause = len(self.events) - 1 if self.events else None
        self.events.append(
            kind(episode="e", n=len(self.events), thread=thread, parent=parent, cause=cause, time=self.time, **fields)
        )

    def begin(self, context="Goal: craft oak door."):
        self.add(EpisodeStarted, environment="textcraft", task="0-17", category="depth 2", at="2025-01-01T00:00:00Z")
        self.start("0", context)

    def start(self, thread, context):
        self.add(ThreadStarted, thread, depth=thread.count("."), context=context)

    def say(self, thread, text, tokens=10):
        self.add(Generating, thread)
        self.add(
            Generated,
            thread,
            text=text,
            stop="listen",
            prompt_tokens=100,
            cached_tokens=90,
            repeated_tokens=0,
            generated_tokens=tokens,
            cost=self.cost,
            seconds=0.1,
            waited=0.0,
            retries=0,
        )

    def act(self, thread, action, observation):
        self.say(thread, f"> {action}")
        self.add(Acted, thread, action=action)
        self.observe(thread, observation)

    def observe(self, thread, observation, view=""):
        self.add(
            Observed,
            thread,
            observation=observation,
            text=f"=>{observation}<=\n",
            reward=0.0,
            done=False,
            seconds=0.01,
            view=view,
        )

    def fork(self, thread, contexts):
        self.say(thread, contexts[-1])
        children = tuple(f"{thread}.{place}" for place in range(len(contexts)))
        self.add(Spawned, thread, children=children)
        for child, context in zip(children, contexts, strict=True):
            self.start(child, context + "=>")
        return children

    def join(self, thread, children, text):
        self.add(Joined, thread, children=tuple(children), text=f"=>{text}<=\n")

    def end(self, thread, result, *, failed=False, how=None, **fields):
        self.add(ThreadEnded, thread, result=result, failed=failed, how=how, **fields)

    def finish(self, status=Status.solved, reward=1.0, message="", **totals):
        self.add(EpisodeEnded, status=status, reward=reward, message=message, totals=Totals(**totals))

    @property
    def state(self):
        return TreeState.of(self.events)


def door():
    """A small TextCraft episode, finished, with one thread that failed."""
    story = Story()
    story.begin("Crafting commands:\ncraft 4 oak planks using 1 oak logs\n\nGoal: craft oak door.")
    planks, door_ = story.fork("0", ["get 6 oak planks", "craft 1 oak door"])
    story.act(planks, "get 2 oak logs", "Got 2 oak logs")
    story.act(planks, "craft 4 oak planks using 1 oak logs", "Crafted 4 minecraft:oak_planks")
    story.add(CodeRan, planks, code="x = y", bound=(), printed=None, error="NameError: name 'y' is not defined")
    story.end(planks, "I have 8 oak planks.")
    story.add(Corrected, door_, text="=>error: a parent already works on this<=\n")
    story.add(Failed, door_, boundary=Boundary.protocol, failure="repetition", message="the same line three times")
    story.end(door_, None, failed=True)
    story.join("0", [planks, door_], "I have 8 oak planks.")
    story.end("0", "done")
    story.finish(
        status=Status.failed, reward=0.0, threads=3, calls=3, generated_tokens=30, prompt_tokens=300,
        cached_tokens=270, depth=1, token_latency=30, actions=2
    )  # fmt: skip
    return story


def wide(fan_out, depth, *, finish=False):
    """A tree where every thread but the leaves has `fan_out` children, all of them at work at once."""
    story = Story()
    story.begin()
    level = ["0"]
    order = []
    for _ in range(depth):
        nexts = []
        for thread in level:
            nexts += story.fork(thread, [f"get item {place} of {thread}" for place in range(fan_out)])
        order += level
        level = nexts
    for thread in [*level, *reversed(order)] if finish else level[: len(level) // 2]:
        story.act(thread, "get 1 stick", "Got 1 stick")
        story.end(thread, "ok")
    if finish:
        story.finish()
    return story


def drawn(lines):
    return [line.plain for line in lines]
