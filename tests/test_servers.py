"""The conformance suite for backends against real servers of other projects, and ours. Run with `pytest -m servers`."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest
from real_servers import LITELLM, SERVERS, chat_alone

from thread_cli.assembly.config import ModelConfig
from thread_cli.assembly.models import api_model, open_model
from thread_cli.conformance.models import check
from thread_cli.contracts.errors import Status
from thread_cli.contracts.limits import Limits
from thread_cli.models.openai_shapes import Shape
from thread_cli.models.probe import probed

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("no_keys"), pytest.mark.timeout(1800)]

DOCUMENTED = Path(__file__).parents[1] / "docs" / "models.md"
ROWS = {
    "thread serve": ("`thread serve`", ""),
    "llama.cpp": ("llama.cpp's (xllamacpp ", "xllamacpp"),
    "llama-cpp-python": ("llama-cpp-python's ", "llama-cpp-python"),
    "transformers": ("`transformers serve` ", "transformers"),
    "LiteLLM": ("LiteLLM's proxy ", ""),
}
"""How the row of each server in the table of `docs/models.md` begins, and the package whose version follows."""
BY_CHAT = {Shape.continued: "continued", Shape.within: "closed: in the user's message"}


def row(kind):
    """The cells of a server in the table; the version in it is the one at hand."""
    begins, package = ROWS[kind]
    line = next(line for line in DOCUMENTED.read_text().splitlines() if line.startswith(f"| {begins}"))
    number = LITELLM if kind == "LiteLLM" else version(package) if package else ""
    told = re.search(r"[\d.]*\d", line.removeprefix(f"| {begins}")) if number else None
    assert told is None or f"{number}.".startswith(f"{told[0]}.")
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


@pytest.fixture(scope="module", params=list(SERVERS))
def served(request, tmp_path_factory):
    with SERVERS[request.param](tmp_path_factory.mktemp("server")) as server:
        yield request.param, server


async def found(server):
    """What is found of a server: what was learnt, and what `thread models --probe` tells."""
    model = api_model(ModelConfig(spec=f"openai:{server.name}@{server.url}", timeout=600))
    told = {name: value async for name, value in probed(model)}
    await model.close()
    return model.learnt, told


async def test_a_real_server_holds_what_a_backend_must(served):
    _, server = served
    config = ModelConfig(spec=f"openai:{server.name}@{server.url}", timeout=600)
    model = api_model(config)
    longest = await model.context()
    await model.close()
    checked = check(lambda: open_model(config, None, None), longest=longest, patience=600)
    verdicts = [verdict async for verdict in checked]
    assert not [verdict for verdict in verdicts if verdict.outcome == "failed"]
    assert sum(verdict.outcome == "passed" for verdict in verdicts) >= 9


async def test_what_is_found_of_a_real_server_is_what_the_documentation_says(served):
    kind, server = served
    learnt, told = await found(server)
    assert (learnt.shape, learnt.rejected, told["begun answer"]) == (Shape.raw, set(), "continued")
    with chat_alone(server) as alone:
        by_chat, told_by_chat = await found(alone)
    # A server that goes on with a begun answer does so with any model; a small one may not do as it is told.
    assert by_chat.shape is not Shape.continued or told_by_chat["begun answer"] == "continued"
    stops = {True: "named", False: "not named"}[told["stop strings"].endswith("and says at which")]
    assert row(kind) == [
        "raw",
        BY_CHAT[by_chat.shape],
        learnt.stops or stops,
        "yes" if told["usage in streams"] != "none" else "no",
        "no" if told["cached tokens"] == "not told" else "yes",
        "yes" if learnt.room.tokens is not None else "no",
    ]
    assert told["cached tokens"] == "not told" or not told["cached tokens"].startswith("0 ")


async def test_an_extra_field_switches_reasoning_on_and_off_and_it_is_counted_apart(served, play):
    kind, server = served
    if kind != "transformers":
        pytest.skip("its model has no template with reasoning")
    totals = {}
    for thinks in (True, False):
        extra = {"chat_template_kwargs": {"enable_thinking": thinks}}
        config = ModelConfig(spec=f"openai:{server.name}@{server.url}", timeout=600, extra=extra)
        model = open_model(config, None, None)
        done = await play(model, "Count: 1, 2, 3, 4,", limits=Limits(total_tokens=400, max_tokens=40, calls=3))
        await model.close()
        totals[thinks] = done.episode.totals
        calls = done.of("generated")
        first, last = calls[0], calls[-1]
        # What a thread's first prompt takes is known only afterwards.
        total = done.episode.totals.prompt_tokens + done.episode.totals.generated_tokens
        assert total <= 400 + first.prompt_tokens
        assert bool(last.reasoning) == thinks
        if thinks:
            # The small model never closes the thought that its template has opened.
            assert (last.text, done.episode.status) == ("", Status.limited)
            assert "tokens of reasoning and no text" in done.episode.message
    assert totals[True].reasoning_tokens == totals[True].generated_tokens > 0
    assert (totals[False].reasoning_tokens, totals[False].generated_tokens > 0) == (0, True)
