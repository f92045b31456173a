"""The conformance suite for backends against real servers of other projects, and ours. Run with `pytest -m servers`."""

import pytest
from real_servers import SERVERS

from thread_cli.config import ModelConfig
from thread_cli.models.conformance import check
from thread_cli.models.openai_shapes import Shape
from thread_cli.models.probe import probed
from thread_cli.models.registry import api_model, open_model

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("no_keys"), pytest.mark.timeout(1800)]

FOUND = {
    "thread serve": {"named": True, "usage": True, "cached": True, "context": True},
    "llama.cpp": {"named": False, "usage": True, "cached": True, "context": True},
    "llama-cpp-python": {"named": False, "usage": False, "cached": False, "context": False},
    "LiteLLM": {"named": False, "usage": True, "cached": True, "context": False},
}
"""What `docs/models.md` says of each server: stops named, usage in streams, cached tokens told, context listed."""


@pytest.fixture(scope="module", params=list(SERVERS))
def served(request, tmp_path_factory):
    with SERVERS[request.param](tmp_path_factory.mktemp("server")) as server:
        yield request.param, server


async def test_a_real_server_holds_what_a_backend_must(served):
    _, server = served
    config = ModelConfig(spec=f"openai:{server.name}@{server.url}")
    model = api_model(config, config.spec.partition(":")[2])
    longest = await model.context()
    await model.close()
    verdicts = [verdict async for verdict in check(lambda: open_model(config, None, None), longest=longest)]
    assert not [verdict for verdict in verdicts if verdict.outcome == "failed"]
    assert sum(verdict.outcome == "passed" for verdict in verdicts) >= 9


async def test_what_is_found_of_a_real_server_is_what_the_documentation_says(served):
    kind, server = served
    model = api_model(ModelConfig(), f"{server.name}@{server.url}")
    told = {name: value async for name, value in probed(model)}
    learnt = model.learnt
    await model.close()
    assert (learnt.shape, learnt.rejected, told["begun answer"]) == (Shape.raw, set(), "continued")
    assert FOUND[kind] == {
        "named": told["stop strings"].endswith("and says at which"),
        "usage": told["usage in streams"] != "none",
        "cached": told["cached tokens"] != "unknown" and not told["cached tokens"].startswith("0 "),
        "context": learnt.room.tokens is not None,
    }
