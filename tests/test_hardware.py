"""Settings for GPUs, attention and the KV memory, on a CPU with two layers of SmolLM2."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from weights import distance, logits

from thread_cli.assembly.config import Config, resolve
from thread_cli.contracts.errors import UserError
from thread_cli.contracts.model import Request
from thread_cli.models.llama import LlamaModel, LlamaOptions
from thread_cli.models.llama.backend import Backend, Slice
from thread_cli.models.llama.prepare import packaged
from thread_cli.models.llama.quantising import quantise

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "small.gguf"
    quantise(packaged(), path, "f16", threads=2, left_out=range(2, 30))
    return path


@pytest.fixture
def opened(small: Path) -> Iterator[Any]:
    models: list[LlamaModel] = []

    def opened(**options: Any) -> LlamaModel:
        models.append(LlamaModel(LlamaOptions(small, context=512, **options)))
        return models[-1]

    yield opened
    for model in models:
        asyncio.run(model.close())


def test_every_kv_type_works_on_the_cpu_and_what_needs_flash_attention_says_so(small: Path, opened: Any) -> None:
    exact = logits(small)
    for kv_type, flash, most in (
        ("f32", "auto", 0.01),
        ("f32", "on", 0.01),
        ("f16", "on", 0.01),
        ("q8_0", "on", 0.1),
        ("q4_0", "on", 1.0),
    ):
        assert distance(exact, logits(small, kv_type=kv_type, flash_attention=flash)) < most, (kv_type, flash)
    with pytest.raises(UserError, match=r"q8_0 only with flash attention: leave out model\.flash_attention=off"):
        asyncio.run(opened(kv_type="q8_0", flash_attention="off").open())
    done = asyncio.run(opened(kv_type="q8_0").complete(Request("", "", "One, two,", (), 4)))
    assert done.text


@pytest.mark.parametrize(("flash", "kernels"), [("on", True), ("on", False), ("off", False)])
def test_what_follows_a_token_does_not_depend_on_how_many_are_evaluated_with_it(
    tmp_path: Path, flash: str, kernels: bool
) -> None:
    rounded = tmp_path / "rounded.gguf"
    quantise(packaged(), rounded, "q8_0", threads=2, left_out=range(2, 30))
    backend = Backend(rounded, context=1024, sequences=2, batch=128, threads=2, flash_attention=flash, kernels=kernels)
    tokens = array("i", range(1000, 1500))
    try:
        for start in range(0, 300, backend.policy.mixed):
            backend.evaluate([Slice(0, start, tokens[start : min(300, start + backend.policy.mixed)], 0)])
        found: list[bytes] = []
        for own, others in ((1, 0), (1, 1), (1, 7), (1, backend.policy.mixed - 1), (9, 0), (backend.policy.mixed, 0)):
            slices = [Slice(0, 300, tokens[300 : 300 + own], own)]
            slices += [Slice(1, 0, tokens[:others], 1)] if others else []
            logits = backend.evaluate(slices)
            assert logits is not None
            found.append(logits[0][0].tobytes())
            backend.clear(0, 300)
            backend.clear(1, 0)
        assert len(set(found)) == 1
    finally:
        backend.close()


@pytest.mark.parametrize(
    ("given", "spins"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_waiting_threads_leave_the_cores_to_others_unless_told_otherwise(given: dict[str, str], spins: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}}
    code = "import os, thread_cli.models.llama; print(os.environ.get('GOMP_SPINCOUNT'))"
    ran = subprocess.run([sys.executable, "-c", code], env=kept | given, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == spins


def test_layers_on_a_gpu_that_is_not_there_are_refused(opened: Any) -> None:
    import llama_cpp.llama_cpp as llama

    if llama.llama_supports_gpu_offload():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match=r"finds no GPU.*leave --gpu-layers out"):
        asyncio.run(opened(gpu_layers=-1).open())


def test_settings_for_gpus_are_checked_and_reach_the_model(monkeypatch: pytest.MonkeyPatch, small: Path) -> None:
    from thread_cli.assembly.models import open_model

    overrides = (
        "model.split=row",
        "model.main_gpu=1",
        "model.tensor_split=3,1",
        "model.flash_attention=on",
        "model.kv_type=q8_0",
    )
    config = resolve({"model": {"spec": f"llama:{small}"}}, overrides=overrides)
    model = open_model(config.model, None, None)
    assert isinstance(model, LlamaModel)
    options = model.options
    assert (options.split, options.main_gpu, options.tensor_split) == ("row", 1, (3.0, 1.0))
    assert (options.flash_attention, options.kv_type) == ("on", "q8_0")
    for wrong in ("split=rows", "main_gpu=-1", "tensor_split=a,b", "flash_attention=yes", "kv_type=q5"):
        with pytest.raises(UserError, match=rf"^configuration: model\.{wrong.partition('=')[0]}") as caught:
            resolve({}, overrides=(f"model.{wrong}",))
        assert "\n" not in caught.value.message


def test_what_decides_results_of_these_settings_is_part_of_a_runs_identity() -> None:
    from thread_cli.bench.plan import Plan
    from thread_cli.bench.suite import Suite

    suite = Suite.model_validate({"name": "s", "metric": "success", "parts": [{"environment": "none", "split": "all"}]})

    def plan(**settings: Any) -> Plan:
        return Plan.of(suite, Config.of(model={"spec": "teacher", **settings}))

    assert plan().difference(plan(gpu_layers=4, split="row", main_gpu=1, tensor_split=(1, 2))) is None
    assert plan().difference(plan(kv_type="q8_0")) == "model.kv_type was f16, is now q8_0"
    assert plan().difference(plan(flash_attention="on")) == "model.flash_attention was auto, is now on"
