"""Texts that go round in circles."""

from dataclasses import replace

import pytest
from endpoints import REQUEST, ask
from servers import Answer, Server, text_event

from thread_cli.contracts.errors import Status
from thread_cli.contracts.limits import Limits
from thread_cli.contracts.model import Completion
from thread_cli.models.llama import LlamaModel, LlamaOptions
from thread_cli.protocols.circles import goes_round

pytestmark = pytest.mark.usefixtures("no_keys")
PROSE = (
    "First, the planks are needed, and planks come from a log. A log is got from the world, one at a time. "
    "With the planks a table is made, which takes four of them. Then two sticks are made of two further planks. "
)


@pytest.mark.parametrize(
    "text",
    [
        PROSE + "> get 1 log\n" * 30,
        PROSE + "a " * 200,
        PROSE + "I take a look at the shelf.\nNothing is on it.\n" * 12,
        PROSE * 5,
        PROSE + "".join(f"Step {n}: look at the shelf and at what is on it.\n" for n in range(40)),
    ],
)
def test_circles_of_every_length_are_seen(text):
    assert goes_round(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        PROSE,
        PROSE * 2,
        "commands = [\n" + "".join(f"    'craft {n} {name}',\n" for n, name in enumerate(["planks", "sticks", "table", "pick", "axe"])) + "]",
        "> get 1 log\n" * 5,
        ", ".join(str(n * n) for n in range(120)),
        "x = [0, 0, 0, 0, 0, 0, 0, 0]\n",
    ],
)  # fmt: skip
def test_lists_and_prose_are_no_circles(text):
    assert not goes_round(text)


async def test_a_text_that_goes_round_is_stopped_while_it_is_written():
    events = [text_event("> look at the shelf\n") for _ in range(2000)]
    with Server(lambda _: Answer(events=events, end="hang")) as server:
        done = await ask(server, replace(REQUEST, max_tokens=2000, until_circles=True))
    assert done.stop == "length"
    assert done.usage.generated < 50


async def test_a_model_on_this_machine_that_goes_round_is_stopped_while_it_writes_and_charged_for_that(
    play, embedded_model
):
    """What makes a small model go round depends on the processor: several contexts are tried until one does."""
    for line in (
        "I look around. I look around. I look around.",
        "I look around.\n" * 40,
        "a b c\n" * 40,
        "1, 2, 3\n" * 40,
    ):
        model = LlamaModel(LlamaOptions(embedded_model, context=4096))
        try:
            done = await play(model, line, limits=Limits(max_tokens=3000))
            wrote = model.work.generated
        finally:
            await model.close()
        written = done.of("generated")[-1]
        if goes_round(written.text):
            break
    assert goes_round(written.text)
    assert len(done.of("generated")) == 1
    assert done.episode.status is Status.failed
    assert "the same lines again and again" in done.episode.message
    assert written.generated_tokens == done.episode.totals.generated_tokens == wrote < 1000


async def test_the_engine_tells_circles_and_cut_off_texts_apart_and_names_the_setting(play):
    class Endless:
        def __init__(self, text):
            self.text = text

        async def complete(self, request):
            return Completion(self.text, "length")

        async def close(self):
            pass

    circles = await play(Endless("I look around.\n" * 30))
    assert circles.episode.status is Status.failed
    assert "the same lines again and again" in circles.episode.message
    long = await play(Endless(PROSE), limits=Limits(max_tokens=70))
    assert long.episode.status is Status.limited
    assert (
        "70 tokens were generated without a line that listens or an end (-o limits.max_tokens=…" in long.episode.message
    )
