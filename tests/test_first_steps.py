"""What a newcomer types first, and what a run says before it begins."""

from io import StringIO

import pytest
from processes import thread
from real_servers import packaged
from rich.console import Console

from thread_cli.assembly.config import ModelSpec, resolve
from thread_cli.assembly.environments import task_of
from thread_cli.assembly.models import KINDS, parameters
from thread_cli.assembly.playing import environment_for, prompt_for
from thread_cli.bench.live import _spent
from thread_cli.bench.plan import _anywhere
from thread_cli.bench.progress import Progress
from thread_cli.cli.models import _description
from thread_cli.contracts.limits import Limits
from thread_cli.models.embedded import specialist, unfamiliar


@pytest.mark.skipif(specialist() is None, reason="no specialist is shipped")
def test_a_model_that_was_not_made_for_an_environment_is_told_of_before_the_run(tmp_path):
    done = thread(
        "run", "none", "What is 17 + 25?", "--calls", "1", "--display", "none", "--max-tokens", "8", cwd=tmp_path
    )
    first = done.stderr.splitlines()[0]
    assert first.startswith("thread: the model embedded was trained for textcraft and alfworld alone")
    assert "--model llama:hf:" in first
    assert not unfamiliar("embedded", "alfworld")
    assert not unfamiliar("openai:m", "webshop")
    assert "dataqa/icu" in unfamiliar("embedded", "dataqa/icu")


def test_the_list_of_models_says_what_each_plays():
    assert "Plays textcraft and alfworld alone" in _description(KINDS["embedded"])
    assert "Plays any environment" in _description(KINDS["openai"])


def test_a_cost_that_nobody_knows_is_unknown_from_the_first_line_on():
    def line(progress):
        console = Console(file=StringIO(), width=200)
        console.print(_spent(progress))
        return console.file.getvalue()

    assert "cost unknown" in line(Progress(3))
    assert "cost $0.00" in line(Progress(3, priced=True))


@pytest.mark.parametrize("text", ['{reasoning_effort = "low", top_k = 4}', '{"reasoning_effort": "low", "top_k": 4}'])
def test_extra_fields_are_given_as_toml_or_json(text):
    settings = resolve({}, overrides=(f"model.extra={text}",))
    assert settings.model.extra == {"reasoning_effort": "low", "top_k": 4}
    assert resolve({}, overrides=("model.extra.top_k=4",)).model.extra == {"top_k": 4}


def test_a_model_named_at_a_hub_is_no_path():
    assert _anywhere(ModelSpec.of("llama:hf:owner/repo:Q8_0")) == "llama:hf:owner/repo:Q8_0"
    assert _anywhere(ModelSpec.of("llama:a.gguf")).startswith("llama:/")


async def test_all_tokens_of_a_task_stay_within_their_limit(play):
    limits = Limits(total_tokens=400)
    done = await play(lambda request: f"First, go on {len(request.y)} =>", limits=limits)
    totals = done.episode.totals
    assert "the limit of 400 tokens is reached" in done.episode.message
    assert totals.prompt_tokens + totals.generated_tokens <= 400 + 60


def test_a_small_model_whose_file_is_at_hand_gets_the_prompt_for_small_models(tmp_path):
    """A model's size is read from its file, a model behind a server has none, and a named prompt wins."""
    model = f"llama:{packaged()}"
    assert 130_000_000 < (parameters(ModelSpec.of(f"faulty:500=0.5+{model}")) or 0) < 140_000_000
    assert parameters(ModelSpec.of("openai:qwen@http://localhost:1/v1")) is None
    assert parameters(ModelSpec.of(f"llama:{tmp_path}/nowhere.gguf")) is None
    for spec, prompt, name in (
        (model, None, "textcraft/general"),
        (model, "default", "textcraft/default"),
        ("openai:qwen@http://localhost:1/v1", None, "textcraft/default"),
    ):
        config = resolve({"environment": "textcraft", "model": {"spec": spec}, "prompt": prompt})
        environment = environment_for(config)
        task = task_of(environment, "textcraft", None)
        assert prompt_for(config, environment, task).name == name
