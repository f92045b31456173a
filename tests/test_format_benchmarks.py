"""What the benchmarks of formats count and judge; what they measure takes minutes and is not tested here."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from thread_cli.contracts.errors import UserError
from thread_cli.models.llama.accelerator import library, missing, paths

gguf = pytest.importorskip("gguf")

PERF = Path(__file__).resolve().parents[1] / "benchmarks" / "perf"


@pytest.fixture
def load(monkeypatch):
    """Modules of the benchmarks, which import each other as scripts do."""
    monkeypatch.syspath_prepend(str(PERF))
    yield importlib.import_module
    for name in [name for name in sys.modules if name.startswith(("formats", "divergence"))]:
        del sys.modules[name]


def small(path, *, tied, experts=False):
    """A model of two layers, as far as counting goes: width 64, 4 heads, 10 tokens."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    tensors = {"token_embd.weight": (10, 64)} | ({} if tied else {"output.weight": (10, 64)})
    for layer in range(2):
        tensors |= {f"blk.{layer}.attn_q.weight": (64, 64), f"blk.{layer}.attn_norm.weight": (64,)}
    if experts:
        tensors["blk.0.ffn_up_exps.weight"] = (3, 8, 64)
    for name, shape in tensors.items():
        writer.add_tensor(name, np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("tied", [True, False])
def test_a_step_reads_all_weights_but_the_table_and_the_output_layer_once(load, tmp_path, tied):
    work = load("formats_floor").work_of(small(tmp_path / "m.gguf", tied=tied))

    assert work.bytes == 4 * (10 * 64 + 2 * (64 * 64 + 64))
    assert work.parameters == (1 if tied else 2) * 640 + 2 * (64 * 64 + 64)


def test_a_prefill_multiplies_each_token_by_all_layers_and_the_last_by_the_output_layer(load, tmp_path):
    work = load("formats_floor").work_of(small(tmp_path / "m.gguf", tied=True))

    # Three tokens see 1 + 2 + 3; in each of two layers, 4 heads multiply 16 numbers of a key, and of a value.
    assert work.operations(3) == 2 * (3 * 2 * 64 * 64 + 640 + 6 * 2 * 4 * 32)


def test_models_with_experts_are_refused_since_a_token_reads_a_part_of_them(load, tmp_path):
    with pytest.raises(UserError, match="experts"):
        load("formats_floor").work_of(small(tmp_path / "m.gguf", tied=True, experts=True))


def table(load, **changed):
    targets = load("formats_targets")
    fine = {
        "model": "m", "format": "q8_0", "parameters": 1.5e9, "amx": False, "old": "old",
        "ours": {"prefill": 90.0, "one": 9.0, "eight": 50.0},
        "others": {"old": {"prefill": 20.0, "one": 8.0, "eight": 40.0}},
        "floor": {"prefill": 100.0, "one": 10.0},
    }  # fmt: skip
    return targets.Table(**{**fine, **changed})


def missed(load, *tables):
    return [target.text for target in load("formats_targets").judged(list(tables)) if not target.held]


def test_a_table_that_reaches_everything_holds_every_target(load):
    assert missed(load, table(load)) == []
    assert missed(load, table(load, amx=True)) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"floor": {"prefill": 113.0, "one": 10.0}}, "80% of the int8 peak"),
        ({"floor": {"prefill": 100.0, "one": 11.5}}, "1.28 times its floor"),
        ({"amx": True, "others": {"old": {"prefill": 23.0, "one": 8.0, "eight": 40.0}}}, "3.91 times old"),
        ({"others": {"b": {"prefill": 20.0, "one": 9.5, "eight": 40.0}}}, "one: 0.95 times the best contender, b"),
        ({"others": {}}, "no contender ran"),
    ],
)
def test_the_cell_that_misses_a_target_is_named(load, changed, said):
    found = missed(load, table(load, **changed))

    assert len(found) == 1
    assert found[0].startswith("m q8_0")
    assert said in found[0]


def test_with_amx_a_prefill_that_has_nothing_to_be_compared_with_does_not_hold(load):
    others = {"b": {"prefill": 20.0, "one": 8.0, "eight": 40.0}}

    assert missed(load, table(load, amx=True, others=others)) == ["m q8_0, prefill against old: not measured"]


def test_four_bits_have_to_decode_half_as_fast_again_as_eight(load):
    wide, narrow = table(load), table(load, format="q4_k_m", floor={"prefill": 100.0, "one": 11.0})

    assert missed(load, wide, narrow) == ["m, decoding by one: q4_k_m 1.00 times as fast as q8_0 (wanted 1.5)"]
    narrow.ours = {**narrow.ours, "one": 13.5}
    assert missed(load, wide, narrow) == []


def test_small_models_are_not_held_against_the_floor_of_decoding(load):
    assert missed(load, table(load, parameters=1.35e8, floor={"prefill": 100.0, "one": 99.0})) == []


def test_a_child_that_kills_itself_is_named_with_its_signal(load):
    contenders = load("formats_contenders")
    command = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGILL)"]

    with pytest.raises(contenders.Died, match="SIGILL"):
        contenders.Child(command, {})


def test_the_divergence_of_a_distribution_is_the_sum_of_its_logarithms_differences(load):
    pytest.importorskip("llama_cpp")
    divergence = load("divergence_worker").divergence
    of, to = np.log(np.array([[0.5, 0.25, 0.25]], np.float32)), np.log(np.array([[0.25, 0.25, 0.5]], np.float32))

    assert divergence(of, to) == pytest.approx([0.5 * np.log(2) - 0.25 * np.log(2)], abs=1e-7)
    assert divergence(of, of + 3) == pytest.approx([0], abs=1e-7)


@pytest.mark.skipif(missing() is not None, reason=f"our kernels cannot be used here: {missing()}")
def test_the_machine_tells_its_reads_and_its_int8_peak():
    kernels = library()
    memory = np.ones(2**20 + 64, np.uint8)
    start = memory.ctypes.data + -memory.ctypes.data % 64

    assert 1e-6 < kernels.thread_kernels_read(start, 2**20, 2) < 1
    assert kernels.thread_kernels_peak(0, 1, 100_000) > 1e9
    # AMX's is at least some times VNNI's where there is AMX, and nothing elsewhere.
    amx = kernels.thread_kernels_peak(1, 1, 10_000)
    assert (amx > 1e9) == ("amx" in paths())
    assert amx == -1 or amx > 1e9


DIES_BUT_FOR_PLAIN = """#!/bin/sh
case "$*" in *plain*) ;; *) kill -ILL $$ ;; esac
echo '{"told": "a contender"}'
while read -r asked; do echo '{"seconds": 0.5}'; done
"""


def test_where_a_contender_dies_its_next_variant_takes_part_and_the_dead_one_is_named(load, tmp_path):
    formats, contenders, floor = load("formats"), load("formats_contenders"), load("formats_floor")
    program = tmp_path / "program"
    program.write_text(DIES_BUT_FOR_PLAIN)
    program.chmod(0o755)
    variants = (contenders.Variant(), contenders.Variant(", plain", {"plain": True}))
    contender = contenders.Contender("it", "llama", variants, program)
    model = small(tmp_path / "m.gguf", tied=True)
    turns = formats.Turns(model, floor.work_of(model), 1, "vnni", 1, 3)
    left_out = []

    taking = turns.open(contender, left_out)
    try:
        for cell in ("prefill", "one", "eight"):
            turns.take(taking, cell)
    finally:
        taking.child.close()

    assert left_out == ["it died: SIGILL"]
    assert taking.label == "a contender, plain"
    assert taking.best == {"prefill": 1024, "one": 6, "eight": 48}
