"""What `embedded` names: the base model, or the specialist where an adapter is shipped."""

from __future__ import annotations

import json
import shutil
import tomllib
from typing import TYPE_CHECKING

import pytest
from processes import thread

from thread_cli.assembly.config import Config, ModelSpec
from thread_cli.assembly.models import open_model
from thread_cli.assembly.playing import environment_for, play, prompt_for
from thread_cli.bench.plan import Plan
from thread_cli.bench.suite import Part, Suite
from thread_cli.contracts.errors import UserError
from thread_cli.models.embedded import specialist_digest

if TYPE_CHECKING:
    from pathlib import Path

ADAPTER = "thread_cli.models.embedded._ADAPTER"
RATED = "faulty:cut=0.1+embedded"


@pytest.fixture(autouse=True)
def absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where an adapter is looked for, and none is."""
    path = tmp_path / "shipped" / "adapter.gguf"
    path.parent.mkdir()
    monkeypatch.setattr(ADAPTER, path)
    monkeypatch.setenv("THREAD_CACHE", str(tmp_path / "cache"))
    return path


@pytest.fixture
def shipped(absent: Path) -> Path:
    """An adapter that says nothing, but is there."""
    absent.write_bytes(b"an adapter")
    return absent


def prompt_of(model: str, environment: str = "textcraft", **settings) -> str:
    config = Config.of(environment=environment, model=model, **settings)
    opened = environment_for(config)
    split = "worlds" if environment == "textcraft" else next(iter(opened.splits))
    return prompt_for(config, opened, opened.tasks(split)[0]).name


def plan(model: str) -> Plan:
    suite = Suite(name="small", parts=(Part(environment="textcraft", split="all", tasks=1),))
    return Plan.of(suite, Config.of(model=model))


# --- which prompt


@pytest.mark.parametrize("model", ["embedded", RATED, f"faulty:429=0.1+{RATED}"])
def test_the_specialist_needs_no_examples(shipped, model) -> None:
    assert prompt_of(model) == "textcraft/specialist"
    assert prompt_of(model, prompt="default") == "textcraft/default"


@pytest.mark.parametrize("model", ["embedded:base", "teacher", "llama:embedded", "openai:embedded"])
def test_other_models_keep_the_default_prompt(shipped, model) -> None:
    assert prompt_of(model) == "textcraft/default"


def test_without_an_adapter_the_embedded_model_keeps_the_default_prompt() -> None:
    assert prompt_of("embedded") == prompt_of(RATED) == "textcraft/default"


def test_an_environment_without_a_prompt_for_the_specialist_keeps_its_default(shipped) -> None:
    assert prompt_of("embedded", "webshop") == "webshop/default"


# --- what is recorded


def test_a_bench_run_with_another_specialist_is_another_run(shipped) -> None:
    with_one = plan("embedded")
    shipped.write_bytes(b"another adapter")
    with_another = plan(RATED)
    assert len(with_one.specialist) == len(with_another.specialist) == 16
    difference = with_one.difference(with_another.model_copy(update={"model": "embedded"}))
    assert difference is not None
    assert "specialist" in difference


def test_a_run_without_a_specialist_is_recorded_as_before() -> None:
    assert plan("embedded").specialist == plan("teacher").specialist == ""
    assert "model.specialist" not in plan("embedded").matters()


async def test_a_run_records_the_digest_of_the_adapter(shipped, tmp_path) -> None:
    script = tmp_path / "script.txt"
    script.write_text("print('no')")
    await play(Config.of(environment="textcraft", model=f"scripted:{script}", log=tmp_path / "run"))
    assert "specialist" not in tomllib.loads((tmp_path / "run" / "run.toml").read_text())
    assert len(specialist_digest("embedded")) == 16
    assert specialist_digest("embedded:base") == specialist_digest("llama:x.gguf") == ""


# --- names


def test_the_innermost_model_is_the_one_that_faults_are_injected_into() -> None:
    assert ModelSpec.of(f"faulty:429=0.1+{RATED}").innermost.text == "embedded"
    assert ModelSpec.of("llama:a+b.gguf").innermost.text == "llama:a+b.gguf"
    assert ModelSpec.of("faulty:429=0.1").innermost.text == "faulty:429=0.1"


@pytest.mark.parametrize("spec", ["embedded:", "embedded:Base", "embedded:base:", "embedded:x.gguf"])
def test_another_suffix_is_refused_in_one_line(spec) -> None:
    pytest.importorskip("llama_cpp")
    with pytest.raises(UserError, match="nothing after its name but :base") as caught:
        open_model(Config.of(model=spec).model, None, None)
    assert "\n" not in caught.value.message


# --- with the model itself


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that changes one weight of the embedded model."""
    pytest.importorskip("llama_cpp")
    from weights import adapter, matrices

    path = tmp_path_factory.mktemp("adapter") / "adapter.gguf"
    return adapter(path, {"blk.3.attn_q.weight": matrices(576, 8, 576, seed=3)})


def test_the_adapter_is_merged_once_and_the_base_stays_to_be_had(absent, real) -> None:
    from thread_cli.models.llama import embedded_model_path
    from thread_cli.models.llama.prepare import prepare

    told: list[str] = []
    plain = embedded_model_path(threads=1)
    shutil.copy(real, absent)
    made = embedded_model_path(told.append, threads=1)
    assert made != plain
    assert made.parent == plain.parent
    assert "Q4_0-" in plain.name
    assert "Q8_0-" in made.name
    assert "(once)" in told[0]
    steps = [line for line in told[1:] if "%" not in line]
    assert steps == ["reading SmolLM2-135M-Instruct.Q4_1.gguf", "merging 1 adapter", "making q8_0"]
    told.clear()
    assert embedded_model_path(told.append, threads=1) == made
    assert told == []
    assert embedded_model_path(threads=1, base=True) == plain
    assert prepare(None, told.append, threads=1) == made
    assert prepare(None, told.append, quant="q4_0", threads=1, base=True) == plain
    assert not list(made.parent.glob(".*"))


def test_a_broken_adapter_is_refused_in_one_line(shipped) -> None:
    pytest.importorskip("llama_cpp")
    from thread_cli.models.llama import embedded_model_path

    with pytest.raises(UserError, match="not a whole GGUF file") as caught:
        embedded_model_path(threads=1)
    assert "\n" not in caught.value.message


async def test_the_specialist_plays_without_examples(absent, real, tmp_path) -> None:
    shutil.copy(real, absent)
    limits = {"calls": 2, "max_tokens": 16}
    played = await play(Config.of(environment="textcraft", task="200", limits=limits, log=tmp_path / "run"))
    assert played.episode.totals.calls >= 1
    assert played.episode.totals.prompt_tokens < 1200
    about = tomllib.loads((tmp_path / "run" / "run.toml").read_text())
    assert about["prompt"]["name"] == "textcraft/specialist"
    assert about["specialist"]["adapter"] == specialist_digest("embedded")


def test_the_base_is_named_on_the_command_line(tmp_path) -> None:
    pytest.importorskip("llama_cpp")
    assert "embedded[:base]" in thread("models", cwd=tmp_path).stdout
    ran = thread(
        *("run", "textcraft", "--model", "embedded:base", "--prompt", "specialist", "--calls", "1"),
        *("-o", "limits.max_tokens=16", "--log", "a", "--display", "json"),
        cwd=tmp_path,
    )
    assert ran.returncode in {0, 1, 3}, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1])["totals"]["calls"] == 1
