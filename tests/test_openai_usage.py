"""API models: numbers that servers tell, what they cost, and numbers that contradict each other."""

import pytest
from endpoints import ask
from servers import Answer, Server, completion, text_event, usage_event

from thread_cli.assembly.config import Config, ModelConfig, PriceConfig
from thread_cli.assembly.models import priced
from thread_cli.bench.plan import Plan
from thread_cli.bench.suite import load
from thread_cli.contracts.model import Usage
from thread_cli.models.openai import Price
from thread_cli.models.openai_usage import Counts, counted
from thread_cli.models.prices import published

pytestmark = pytest.mark.usefixtures("no_keys")


def told(prompt, generated, total=None, *, cached=None, reasoning=None, **rest):
    usage = {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": total, **rest}
    if cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    if reasoning is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return usage


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (told(100, 20, 120, cached=60), (100, 60, 20, 0)),
        (told(100, 20, 120, reasoning=15), (100, 0, 20, 15)),
        (told(100, 20, 0), (100, 0, 20, 0)),
        (told(100, 20, None, prompt_cache_hit_tokens=64), (100, 64, 20, 0)),
        ({"input_tokens": 7, "output_tokens": 3}, (7, 0, 3, 0)),
        (told(100.0, 20.0, 120.0), (100, 0, 20, 0)),
    ],
)
def test_counts_that_agree_are_taken_as_they_are(usage, counts):
    told = "prompt_tokens_details" in usage or "prompt_cache_hit_tokens" in usage
    assert counted(usage) == Counts(*counts, cached_known=told)


@pytest.mark.parametrize(
    ("usage", "counts", "words"),
    [
        (told(40, 12, 52, cached=17102), (17142, 17102, 12, 0), "cached tokens are not among"),
        (told(40, 12, 1052, cached=1000), (1040, 1000, 12, 0), "cached tokens are not among"),
        (told(10, 5, 75, reasoning=60), (10, 0, 65, 60), "read as reasoning"),
        (told(10, 5, 75), (10, 0, 65, 60), "read as reasoning"),
    ],
)
def test_counts_of_other_conventions_are_read_and_the_reading_is_named(usage, counts, words):
    read = counted(usage)
    assert isinstance(read, Counts)
    assert (read.prompt, read.cached, read.generated, read.reasoning) == counts
    assert words in read.note


@pytest.mark.parametrize(
    "usage",
    [
        told(-5, 20, 15), told(100, -1), told(100, 20, 50), told(100, 20, 120, cached=-3), told("many", 20),
        told(100, 20, 120, reasoning=50), told(100, 20, 500, cached=200), told(float("inf"), 2), told(True, 2),
    ],
)  # fmt: skip
def test_counts_that_no_reading_makes_consistent_are_unknown(usage):
    assert isinstance(counted(usage), str)


@pytest.mark.parametrize("usage", [told(-5, 20, 15), told(100, 20, 50), told(0, 0, 0), told(100, 20, 500, cached=200)])
async def test_unknown_counts_never_make_a_cost(usage):
    event = usage_event(1, 1)
    event["usage"] = usage
    with Server(lambda _: completion("a", "b", usage=event)) as server:
        done = await ask(server, price=Price(1, 1, 1))
    assert (done.usage.prompt, done.usage.cached, done.usage.generated, done.usage.cost) == (0, 0, 2, None)
    assert bool(done.usage.note) == any(value for value in usage.values())


async def test_usage_is_found_where_groq_and_moonshot_tell_it():
    told = usage_event(9, 4)["usage"]
    for last in (text_event("", "stop", usage=told), {**text_event("", "stop"), "x_groq": {"usage": told}}):
        with Server(lambda _, last=last: Answer(events=[text_event("a"), last])) as server:
            done = await ask(server)
        assert (done.usage.prompt, done.usage.generated) == (9, 4)


async def test_a_reading_is_priced_and_never_negative():
    with Server(lambda _: completion("a", usage=usage_event(40, 12, cached=17102))) as server:
        done = await ask(server, price=Price(3, 0.3, 15))
    assert done.usage.cost == pytest.approx((40 * 3 + 17102 * 0.3 + 12 * 15) / 1e6)


def test_published_prices_follow_the_address_and_settings_win():
    usage = Usage(1_000_000, 0, 0)
    assert (published("gpt-4o-mini", "https://api.openai.com/v1")(usage) or 0) > 0
    assert published("gpt-4o-mini", "http://127.0.0.1:8000/v1")(usage) is None
    assert published("a model that nobody has heard of", "https://api.openai.com/v1")(usage) is None
    assert priced(ModelConfig(spec="openai:gpt-4o-mini"))
    assert priced(ModelConfig(spec="faulty:429=0.1+openai:mistral-small-latest@https://api.mistral.ai/v1"))
    assert not priced(ModelConfig(spec="openai:gpt-4o-mini@http://127.0.0.1:8000/v1"))
    assert not priced(ModelConfig(spec="embedded"))
    assert priced(ModelConfig(spec="embedded", price=PriceConfig(prompt=1, generated=1)))


def test_extra_fields_are_part_of_a_runs_identity(tmp_path):
    extra = Config.of(model={"spec": "openai:m", "extra": {"reasoning_effort": "low"}})
    assert extra.model.extra == {"reasoning_effort": "low"}
    plain = Config.of(model="openai:m")
    one, other = (Plan.of(load("textcraft-200"), config).matters() for config in (plain, extra))
    assert set(other.items()) - set(one.items()) == {("model.extra.reasoning_effort", "low")}
