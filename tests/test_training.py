"""Training, from a recorded run to a model that plays the task: on a model of two layers, in seconds."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import weights
from gguf.quants import dequantize
from processes import in_this_process
from typer.testing import CliRunner

from thread_cli.assembly.config import Config
from thread_cli.bench.plan import Plan
from thread_cli.bench.player import Player
from thread_cli.bench.suite import load as load_suite
from thread_cli.cli.app import app
from thread_cli.contracts.errors import UserError
from thread_cli.models.llama.prepare import prepare
from thread_cli.train.attention import runs_of
from thread_cli.train.packing import Example, packed
from thread_cli.train.phrases import phrases
from thread_cli.train.rounding import Rounded
from thread_cli.train.sft import Recipe, logits_of, loss_of, train
from thread_cli.train.trajectories import Segment, Trajectory, read, write
from thread_cli.train.weights import adapted, import_, load

WORLD = "world:115"
ACTIONS = (
    "> get 1 rofiatri press ",
    "> get 3 pine spun staff ",
    "> craft 1 staff using 1 rofiatri press, 3 pine spun staff ",
)
LEARNING = ("--rank", "16", "--learning-rate", "3e-3", "--packs", "1", "--length", "1024")
SUITE = 'description = "worlds"\n[[parts]]\nenvironment = "textcraft"\nsplit = "worlds"\n'


def thread(*arguments: object) -> subprocess.CompletedProcess[str]:
    return in_this_process(*map(str, arguments), cwd=Path())


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Torch's threads wait for each other by spinning, which costs a small model many times what it computes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return weights.tiny(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> tuple[Path, int]:
    """A suite, and a seed with which a single task drawn from it is the world that is learned."""
    file = tmp_path_factory.mktemp("suite") / "worlds.toml"
    file.write_text(SUITE)

    def drawn(seed: int) -> str:
        plan = Plan.of(load_suite(str(file)), Config.of(model="teacher", seed=seed), limit=1, shuffle=True)
        _, (item,), _ = Player(plan, None).settle()
        return item.task.id

    return file, next(seed for seed in range(10_000) if drawn(seed) == WORLD)


@pytest.fixture(scope="module")
def threads(suite, tmp_path_factory) -> Path:
    """Data made of a recorded run, by the command line."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "script").write_text("\n---\n".join(f"{action}=>" for action in ACTIONS))
    played = thread(
        "run", "textcraft", "--task", WORLD, "--seed", suite[1], "--model", f"scripted:{folder / 'script'}", "--prompt", "specialist",
        "--display", "none", "--log", folder / "run",
    )  # fmt: skip
    assert played.returncode == 0, played.stderr
    made = thread("data", folder / "run", "--no-examples", "-o", folder / "threads.jsonl")
    assert made.returncode == 0, made.stderr
    return folder / "threads.jsonl"


@pytest.fixture(scope="module")
def specialist(model, threads, tmp_path_factory) -> Path:
    """The folder of a training that has learned the run by heart."""
    folder = tmp_path_factory.mktemp("sft") / "out"
    trained = thread("train", "sft", threads, "-o", folder, "--base", model, "--epochs", 150, *LEARNING)
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.strip() == str(folder / "adapter.gguf")
    assert "1 threads of" in trained.stderr
    assert "step 150/150" in trained.stderr
    return folder


def some_threads(count: int = 4) -> list[Trajectory]:
    texts = [(f"Prompt:\ncount to {n}\n", " ".join(map(str, range(n)))) for n in range(3, 3 + count)]
    return [
        Trajectory("none", str(n), "", f"run/{n}", "0", (Segment(given, False), Segment(own, True)))
        for n, (given, own) in enumerate(texts)
    ]


def test_a_model_plays_what_it_was_trained_on(model, specialist, suite):
    how = (
        "run",
        "textcraft",
        "--task",
        WORLD,
        "--seed",
        suite[1],
        "--model",
        f"llama:{model}",
        "--prompt",
        "specialist",
    )
    where = ("--display", "none", "--log")
    with_it = thread(*how, "--lora", specialist / "adapter.gguf", *where, specialist / "with")
    assert with_it.returncode == 0, with_it.stderr
    without = thread(*how, "--max-tokens", "64", *where, specialist / "without")
    assert without.returncode == 1


def test_losses_are_kept_and_drawn(specialist):
    rows = list(csv.DictReader((specialist / "losses.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(1, 151))
    assert float(rows[-1]["loss"]) < 0.05 < float(rows[0]["loss"])
    assert (specialist / "losses.svg").read_text().startswith("<?xml")


def test_a_training_that_was_killed_arrives_at_the_same_adapter(model, threads, tmp_path):
    def command(folder: Path) -> tuple[object, ...]:
        how = ("--base", model, "--epochs", 24, *LEARNING, "--every", "0")
        return ("train", "sft", threads, "-o", folder, *how)

    assert thread(*command(tmp_path / "whole")).returncode == 0
    killed = subprocess.Popen(
        [sys.executable, "-m", "thread_cli", *map(str, command(tmp_path / "killed"))],
        env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    losses = tmp_path / "killed" / "losses.csv"
    while not losses.exists() or losses.read_text().count("\n") < 8:
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=10)  # until none of its processes is left that could write
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "adapter.gguf").exists()
    assert thread(*command(tmp_path / "killed")).returncode == 0
    for name in ("adapter.gguf", "losses.csv", "recipe.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_self_training_plays_learns_and_goes_on(model, suite, threads, specialist, tmp_path):
    file, seed = suite
    command = (
        "train", "self", file, "-o", tmp_path / "out", "--base", model, "--limit", 1, "--seed", seed, "--temperature", 0,
        "--epochs", 3, *LEARNING,
    )  # fmt: skip
    trained = thread(*command, "--adapter", specialist / "adapter.gguf")
    assert trained.returncode == 0, trained.stderr
    assert "round 1: 1 of 1 episodes solved (100.0%)" in trained.stderr
    assert trained.stdout.strip() == str(tmp_path / "out" / "round-1" / "adapter.gguf")
    (own,) = read(tmp_path / "out" / "round-1" / "data.jsonl")
    (taught,) = read(threads)
    assert own.segments == taught.segments
    again = thread(*command, "--adapter", specialist / "adapter.gguf", "--rounds", 2)
    assert again.returncode == 0, again.stderr
    untaught = thread(*command[:4], tmp_path / "else", *command[5:])
    assert untaught.returncode == 2
    assert "begin with --data" in untaught.stderr


def test_the_runs_of_a_pack_see_what_its_tokens_see():
    texts = ["abcde", "abcxy", "abcxyz", "bc", "abq"]
    pack = packed(Example(tuple(map(ord, text)), (False,) * len(text)) for text in texts)
    runs = runs_of(pack)
    assert [place for run in runs for place in range(run.start, run.stop)] == list(range(len(pack)))
    for run in runs:
        places = [*run.ancestors.tolist(), *range(run.start, run.stop)]
        for row, place in enumerate(range(run.start, run.stop)):
            last = len(run.ancestors) + row
            seen = run.seen[row].tolist() if run.seen is not None else [n <= last for n in range(len(places))]
            found = [other for other, own in zip(places, seen, strict=True) if own]
            assert found == [other for other in range(place + 1) if place < pack.ends[other]]


def test_packed_threads_have_the_logits_and_gradients_of_separate_ones(model):
    base = load(model)
    tuned = adapted(base, rank=4, alpha=8)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.2, generator=torch.Generator().manual_seed(len(name)))
    shared = tuple(range(40, 70))
    examples = [Example((*shared, *range(n, 2 * n)), (False,) * 30 + (True,) * n) for n in range(5, 12)]
    examples.append(Example(examples[0].tokens[:33], (False,) * 30 + (True,) * 3))
    pack = packed(examples)
    assert len(pack) < sum(len(example.tokens) for example in examples) / 2
    for example in examples:
        with torch.no_grad():
            plain = tuned(input_ids=torch.tensor([example.tokens])).logits[0]
            assert float((logits_of(tuned, pack, pack.places(example.tokens)) - plain).abs().max()) < 1e-4

    def gradients(losses):
        tuned.zero_grad()
        sum(losses).backward()
        return [weight.grad.clone() for weight in tuned.parameters() if weight.requires_grad]

    def alone(example):
        logits = tuned(input_ids=torch.tensor([example.tokens])).logits[0]
        places = [place for place, own in enumerate(example.learned) if own]
        targets = torch.tensor([example.tokens[place] for place in places])
        return torch.nn.functional.cross_entropy(logits[[place - 1 for place in places]], targets, reduction="sum")

    together, apart = gradients([loss_of(tuned, pack)]), gradients([alone(example) for example in examples])
    assert max(float(gradient.abs().max()) for gradient in apart) > 0.01
    assert max(float((one - other).abs().max()) for one, other in zip(together, apart, strict=True)) < 1e-4


def test_a_model_trained_for_a_format_has_the_weights_that_its_file_will_have(model, tmp_path):
    how = Recipe(rank=4, alpha=8, epochs=3, learning_rate=0.01, quant="q4_0")
    adapter = train(load(model), some_threads(), how, tmp_path / "out")
    made = prepare(model, lambda _: None, adapters=[adapter], quant="q4_0")
    stored = {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in gguf.GGUFReader(made).tensors}
    tuned = adapted(load(model), rank=4, alpha=8)
    import_(adapter, tuned)
    Rounded(tuned, "q4_0").refresh()
    for layer in range(2):
        for name, stored_as in (("v_proj", "attn_v"), ("o_proj", "attn_output")):
            own = getattr(tuned.base_model.model.model.layers[layer].self_attn, name)
            weight = (own.base_layer.weight + own.get_delta_weight("default")).detach().numpy()
            # Where a number lies between two steps, the last bit decides.
            assert (np.abs(weight - stored[f"blk.{layer}.{stored_as}.weight"]) > 1e-6).mean() < 0.002
            assert len(np.unique(np.abs(weight[0, :32]).round(6))) <= 9


def test_another_training_in_the_folder_is_refused(model, tmp_path):
    train(load(model), some_threads(), Recipe(epochs=1), tmp_path / "out")
    with pytest.raises(UserError, match="another recipe"):
        train(load(model), some_threads(), Recipe(epochs=1, seed=1), tmp_path / "out")
    with pytest.raises(UserError, match="another recipe, other data"):
        train(load(model), some_threads(3), Recipe(epochs=1), tmp_path / "out")


def test_wrong_input_is_one_line(model, tmp_path):
    write(tmp_path / "long.jsonl", some_threads())
    cases = {
        ("sft", tmp_path / "none.jsonl"): "No such file",
        ("sft", tmp_path / "long.jsonl", "--base", tmp_path / "none.gguf"): "none.gguf",
        ("sft", tmp_path / "long.jsonl", "--base", model, "--longest", 16): "nothing to learn",
        ("sft", tmp_path / "long.jsonl", "--base", model, "--epochs", 0): "epochs",
        ("sft", tmp_path / "long.jsonl", "--base", model, "--device", "cuda:77"): "cuda:77",
        ("sft", tmp_path / "long.jsonl", "--base", model, "--evaluate", "no-such-suite"): "no-such-suite",
        ("self", "no-such-suite"): "no-such-suite",
    }
    for command, told in cases.items():
        ran = CliRunner().invoke(app, ["train", *map(str, command), "-o", str(tmp_path / "out" / str(len(told)))])
        assert isinstance(ran.exception, UserError), (command, ran.output)
        assert ran.exception.exit_code == 2
        assert told in ran.exception.message
        assert "\n" not in ran.exception.message


# --- phrases


def test_phrases_are_what_is_learned_often_after_what_it_mostly_follows() -> None:
    def thread(*texts: str) -> Trajectory:
        return Trajectory("e", "t", "", "r/e", "0", tuple(Segment(text, bool(at % 2)) for at, text in enumerate(texts)))

    often = [thread("a long beginning: one", "> go =>", f"You see {n}.<=", "print('done')") for n in (1, 2, 2)]
    seldom = [thread("another: one", "> stay =>"), thread("a long beginning: two", "> go =>")]
    assert json.loads(phrases([*often, *seldom])) == [["You see 2.<=", "print('done')"], ["ginning: one", "> go =>"]]
    assert json.loads(phrases(seldom)) == []
