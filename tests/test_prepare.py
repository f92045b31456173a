"""Preparing local models: SmolLM2, the same model with two of its layers, and a smaller one of random weights."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest
from gguf.quants import quantize
from processes import in_this_process, thread
from weights import WIDTH, adapter, distance, logits, matrices, tiny, write

from thread_cli.contracts.errors import UserError
from thread_cli.models.llama import embedded_model_path
from thread_cli.models.llama.loading import read_header
from thread_cli.models.llama.merging import Merge
from thread_cli.models.llama.prepare import packaged, prepare
from thread_cli.models.llama.quantising import quantise
from thread_cli.models.llama.speeds import CANDIDATES, Machine, Measured, Speed, measured, recall
from thread_cli.models.llama.steps import digest_of

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def small(folder: Path) -> Path:
    """SmolLM2 with its first two layers, in F16."""
    path = folder / "small-f16.gguf"
    quantise(packaged(), path, "f16", threads=2, left_out=range(2, 30))
    return path


@pytest.fixture(scope="module")
def smaller(folder: Path) -> Path:
    """Two layers with few tokens, in F16. Weights of all formats fit into its rows."""
    path = folder / "smaller-f16.gguf"
    quantise(tiny(folder / "exact.gguf", width=256), path, "f16", threads=2)
    return path


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("THREAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def adapted(path: Path, width: int, values: int, inner: int) -> Path:
    """An adapter that changes weights of every shape in both layers, in several ranks."""
    shapes = {
        "attn_q": (width, width),
        "attn_v": (values, width),
        "ffn_up": (inner, width),
        "ffn_down": (width, inner),
    }
    pairs = {
        f"blk.{layer}.{name}.weight": matrices(out, 2 + layer, into, seed=10 * layer + out)
        for layer in range(2)
        for name, (out, into) in shapes.items()
    }
    return adapter(path, pairs)


@pytest.fixture(scope="module")
def lora(folder: Path) -> Path:
    return adapted(folder / "lora.gguf", WIDTH, 192, 1536)


@pytest.fixture(scope="module")
def smaller_lora(folder: Path) -> Path:
    return adapted(folder / "smaller-lora.gguf", 256, 128, 512)


def told_of_letters(path: Path, adapters: Sequence[Path] = ()) -> np.ndarray:
    return logits(path, adapters, range(97, 121))


def silent(_: str) -> None:
    """Tell nobody."""


# Merging


def test_a_merged_adapter_is_llama_cpps_own_within_the_error_of_the_format(smaller: Path, smaller_lora: Path) -> None:
    plain, at_run_time = told_of_letters(smaller), told_of_letters(smaller, [smaller_lora])
    exact = told_of_letters(prepare(smaller, silent, adapters=[smaller_lora], quant="none"))
    rounded = told_of_letters(prepare(smaller, silent, adapters=[smaller_lora], quant="q8_0"))
    of_the_format = distance(plain, told_of_letters(prepare(smaller, silent, quant="q8_0")))
    assert distance(at_run_time, exact) < 0.01
    assert distance(at_run_time, rounded) < 3 * of_the_format + 0.01
    assert distance(at_run_time, plain) > 0.1, "the adapter changes something"


def test_several_adapters_add_up_whatever_their_alpha_and_format(small: Path, folder: Path, tmp_path: Path) -> None:
    name = "blk.1.attn_q.weight"
    a, b = matrices(WIDTH, 32, seed=5)
    half = (a.astype(np.float16), quantize(b, gguf.GGMLQuantizationType.F16))
    both = [
        adapter(tmp_path / "one.gguf", {name: (a, b)}, alpha=0.0),
        adapter(tmp_path / "two.gguf", {name: half}, alpha=100.0),
    ]
    merged = prepare(small, silent, adapters=both, quant="none")
    assert distance(logits(small, both), logits(merged)) < 0.01


def test_a_quantised_model_takes_an_adapter_and_keeps_all_other_weights(
    smaller: Path, smaller_lora: Path, tmp_path: Path
) -> None:
    source = prepare(smaller, silent, quant="q8_0")
    merged = prepare(source, silent, adapters=[smaller_lora], quant="none")
    before, after = ({tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors} for path in (source, merged))
    assert list(before) == list(after)
    changed = {name for name in before if after[name].tensor_type != before[name].tensor_type}
    assert changed == {
        f"blk.{layer}.{name}.weight" for layer in range(2) for name in ("attn_q", "attn_v", "ffn_up", "ffn_down")
    }
    assert all(np.array_equal(before[name].data, after[name].data) for name in before.keys() - changed)
    assert {after[name].tensor_type for name in changed} == {gguf.GGMLQuantizationType.F16}
    assert distance(told_of_letters(source, [smaller_lora]), told_of_letters(merged)) < 0.05


def test_an_adapter_that_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    name, model, path = "blk.0.attn_q.weight", tmp_path / "model.gguf", tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(model, "llama")
    for each in (name, "token_embd.weight"):
        writer.add_tensor(each, np.zeros((WIDTH, WIDTH), np.float32))
    write(writer)
    a, b = matrices(WIDTH, 4)
    cases: list[tuple[dict[str, tuple[np.ndarray, np.ndarray]], dict[str, Any], str]] = [
        ({name: (a, b)}, {"architecture": "qwen2"}, "architecture 'qwen2'; this one is 'llama'"),
        ({name: (a, b)}, {"type": "model"}, "not a LoRA adapter"),
        ({name: (a[:3], b)}, {}, "matrices of rank 3 and 4"),
        ({name: (a[:, :64], b)}, {}, r"of shape \(576, 64\); here it is \(576, 576\)"),
        ({"blk.9.attn_q.weight": (a, b)}, {}, "which the model does not have"),
        ({"token_embd.weight": (a, b)}, {}, "writes with too"),
    ]
    for pairs, fields, words in cases:
        adapter(path, pairs, **fields)
        with pytest.raises(UserError, match=words) as caught:
            Merge(model, [path])
        assert "\n" not in caught.value.message
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match="not a whole GGUF file"):
        Merge(model, [cut])
    with pytest.raises(UserError, match="does not exist"):
        Merge(model, [tmp_path / "none.gguf"])


# The command


def test_the_command_prints_the_path_and_makes_a_file_once(
    smaller: Path, smaller_lora: Path, tmp_path: Path, cache: Path
) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return thread("models", "prepare", str(smaller), *arguments, cwd=tmp_path)

    first = run("--quant", "q8_0", "--adapter", str(smaller_lora))
    made = Path(first.stdout.strip())
    assert first.returncode == 0
    assert made.parent == cache / "models"
    assert made.name.startswith("smaller.Q8_0-")
    assert "merging 1 adapter" in first.stderr
    assert [path.name for path in made.parent.iterdir()] == [made.name], "nothing in between is left"
    when = made.stat().st_mtime_ns
    again = run("--quant", "q8_0", "--adapter", str(smaller_lora))
    assert (again.stdout, made.stat().st_mtime_ns) == (first.stdout, when)
    assert "merging" not in again.stderr
    format_ = in_this_process("models", "prepare", str(smaller), "--quant", "f16", cwd=tmp_path)
    assert format_.stdout.strip() == str(smaller), "it is in that format"
    assert "llama:FILE.gguf" in in_this_process("models", cwd=tmp_path).stdout


def test_each_wrong_input_ends_in_one_line(smaller: Path, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("no model")
    (tmp_path / "cut.gguf").write_bytes(smaller.read_bytes()[:100_000])
    for arguments, words in (
        (("none.gguf",), "does not exist"),
        (("text.gguf",), "not a GGUF file"),
        (("cut.gguf",), "llama.cpp cannot load"),
        ((str(smaller), "--quant", "q9"), "there is no format 'q9'"),
        ((str(smaller), "--adapter", "none.gguf"), "does not exist"),
        ((str(smaller), "--adapter", str(smaller)), "not a LoRA adapter"),
    ):
        done = in_this_process("models", "prepare", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("thread: ")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("quant", ["none", "q8_0"])
def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(
    small: Path, lora: Path, tmp_path: Path, cache: Path, quant: str
) -> None:
    command = [sys.executable, "-m", "thread_cli", "models", "prepare", str(small), "--quant", quant]
    command += ["--adapter", str(lora)] if quant == "none" else []
    done = subprocess.run(
        command,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10**7, 10**7)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"cannot write {small.name}" in done.stderr.splitlines()[-1]
    assert "free some space" in done.stderr.splitlines()[-1]
    assert list((cache / "models").iterdir()) == []


# What is killed


def test_what_is_killed_at_any_moment_leaves_nothing_wrong_and_finished_steps(
    small: Path, lora: Path, tmp_path: Path
) -> None:
    """Killed as the merged file appears, then while it is requantised: the merge is not done again."""
    command = [sys.executable, "-m", "thread_cli", "models", "prepare", str(small), "--quant", "iq4_nl"]
    command += ["--adapter", str(lora)]
    models = tmp_path / "cache" / "models"
    for glob in (".*.part", ".merged-*"):
        killed = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        while not list(models.glob(glob)) and killed.poll() is None:
            time.sleep(0.002)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()  # until none of its processes is left that could write
        assert not list(models.glob("small.*"))
    (merged,) = models.glob(".merged-*")
    when = merged.stat().st_mtime_ns
    for left in models.glob(".*.part"):
        os.utime(left, (0, 0))
    told: list[str] = []
    made = prepare(small, told.append, adapters=[lora], quant="iq4_nl")
    assert not any("merging" in line for line in told), (told, when)
    assert [path.name for path in models.iterdir()] == [made.name]
    assert distance(logits(small, [lora]), logits(made)) < 1


def test_an_interrupted_requantisation_ends_its_process(small: Path, tmp_path: Path) -> None:
    class Enough(Exception): ...

    def stop(_: float) -> None:
        raise Enough

    target = tmp_path / "x.gguf"
    with pytest.raises(Enough):
        quantise(small, target, "iq4_nl", threads=1, done=stop)
    size = target.stat().st_size
    time.sleep(0.2)
    assert target.stat().st_size == size < small.stat().st_size


# Measuring


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every figure is tried for once."""
    monkeypatch.setattr("thread_cli.models.llama.speeds._ENOUGH", 0.0)


def speeds(**costs: float) -> dict[str, Speed]:
    """Speeds with which the workload takes about so many seconds."""
    return {
        name: Speed(prompt=512 / cost * 3, alone=64 / cost * 3, together=512 / cost * 3) for name, cost in costs.items()
    }


def known(**costs: float) -> Measured:
    return Measured(machine=Machine.here(1), model="m.gguf", digest="0", speeds=speeds(**costs))


def test_the_rule_takes_the_fastest_and_of_equals_the_most_precise() -> None:
    assert known(q8_0=1.5, q4_k_m=1.2, iq4_nl=1.1, q4_0=1.0).best == "q4_0"
    assert known(q8_0=1.5, q4_k_m=1.04, iq4_nl=1.0, q4_0=1.0).best == "q4_k_m"
    assert known(q8_0=1.0, q4_k_m=2.0, iq4_nl=2.0, q4_0=1.0).best == "q8_0"
    assert speeds(q4_0=2.0)["q4_0"].cost == pytest.approx(2.0)


@pytest.mark.usefixtures("hasty")
def test_formats_are_measured_once_for_a_machine_and_go_on_where_they_were_interrupted(
    smaller: Path, cache: Path
) -> None:
    machine, told = Machine.here(2), list[str]()
    found = measured(smaller, digest_of([smaller]), read_header(smaller), machine, told.append)
    assert list(found.speeds) == list(CANDIDATES)
    assert sum(line.startswith("measuring") for line in told) == len(CANDIDATES)
    assert [path.suffix for path in (cache / "speeds").iterdir()] == [".json"], "candidates are gone"
    assert recall(machine) == found
    assert recall(Machine.here(1)) is None, "another number of threads is another machine"
    assert f"{found.best:<8}" in "\n".join(line for line in found.table() if line.endswith("chosen"))

    told.clear()
    assert measured(Path("another.gguf"), "other", read_header(smaller), machine, told.append) == found
    assert told == []

    part = found.model_copy(update={"speeds": {name: found.speeds[name] for name in CANDIDATES[:-1]}})
    machine.file.write_text(part.model_dump_json())
    measured(smaller, found.digest, read_header(smaller), machine, told.append)
    assert [line for line in told if line.startswith("measuring")] == [f"measuring {CANDIDATES[-1]}"]


@pytest.mark.usefixtures("hasty")
def test_a_large_model_is_measured_on_its_first_layers(smaller: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thread_cli.models.llama.speeds._LARGE", smaller.stat().st_size / 2)
    monkeypatch.setattr("thread_cli.models.llama.speeds.CANDIDATES", ("q8_0",))
    found = measured(smaller, "0", read_header(smaller), Machine.here(2), silent)
    assert found.layers == 1
    assert "1 of its layers" in next(found.table())


def test_a_broken_memory_of_speeds_counts_as_none() -> None:
    machine = Machine.here(1)
    machine.file.parent.mkdir(parents=True)
    for text in ("", "{}", '{"machine": 1}', "\x00"):
        machine.file.write_text(text)
        assert recall(machine) is None


def test_the_embedded_model_takes_the_measured_format_else_q4_0() -> None:
    assert "Q4_0-" in embedded_model_path(threads=1, base=True).name
    machine = Machine.here(1)
    machine.file.parent.mkdir(parents=True)
    machine.file.write_text(known(q8_0=1.0, q4_k_m=2.0, iq4_nl=2.0, q4_0=2.0).model_dump_json())
    told: list[str] = []
    path = embedded_model_path(told.append, threads=1, base=True)
    assert "Q8_0-" in path.name
    assert len(told) == 1
    assert prepare(None, silent, threads=1, base=True) == path
    assert "Q4_0-" in embedded_model_path(threads=2, base=True).name
