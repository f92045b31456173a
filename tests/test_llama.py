"""The local backend, on the real SmolLM2; its prefix tree and its transcripts without a model."""

import asyncio
import errno
import os
import random
import struct
import subprocess
import sys
import time
from array import array
from pathlib import Path

import numpy as np
import pytest
from processes import demand_plain_llama

from thread_cli.contracts.errors import LimitReached, ModelError, UserError
from thread_cli.contracts.model import Request
from thread_cli.distribution import cache_folder
from thread_cli.models.llama import LlamaModel, LlamaOptions, embedded_model_path
from thread_cli.models.llama.cache import CacheFull, PrefixTree
from thread_cli.models.llama.sampling import Sampler, Text
from thread_cli.models.llama.transcript import Transcripts

LINES = [f"Item {i}: take {i % 7 + 1} of wood plank {i * 37 % 101} and craft a chest number {i}.\n" for i in range(70)]
Q = "You play a game of crafting.\n" + "".join(LINES)
SHORT = "".join(f"Q: What is {i} plus {i + 1}?\nA: {2 * i + 1}.\n" for i in range(8))
# llama.cpp's logits move a little with the place of a token in its memory: texts are compared where one is near certain.
COUNTS = ("1, 2, 3, 4, 5, 6,", "A, B, C, D, E, F,", "10, 20, 30, 40, 50, 60,")


@pytest.fixture(scope="module")
def path(embedded_model: Path) -> Path:
    return embedded_model


@pytest.fixture(scope="module")
def model(path: Path):
    model = LlamaModel(LlamaOptions(path, context=8192))
    yield model
    asyncio.run(model.close())


def ask(c: str, y: str = "", q: str = SHORT, stop: tuple[str, ...] = ("=>",), max_tokens: int = 24, **rest) -> Request:
    return Request(q, c, y, stop, max_tokens, **rest)


class Cells:
    """A KV memory as llama.cpp keeps it: a sequence is a set of cells, each of which may belong to several."""

    def __init__(self) -> None:
        self.of: dict[int, dict[int, tuple[int, int]]] = {}
        self.made = 0

    def share(self, source: int, target: int, start: int, end: int) -> None:
        mine = self.of.setdefault(target, {})
        for position in range(start, end):
            mine[position] = self.of[source][position]

    def clear(self, sequence: int, start: int) -> None:
        self.of[sequence] = {at: cell for at, cell in self.of.get(sequence, {}).items() if at < start}

    def evaluate(self, sequence: int, start: int, tokens: array) -> None:
        for position, token in enumerate(tokens, start):
            self.made += 1
            self.of.setdefault(sequence, {})[position] = (self.made, token)

    def text(self, sequence: int) -> list[int]:
        return [token for _, (_, token) in sorted(self.of.get(sequence, {}).items())]

    def count(self) -> int:
        return len({cell for cells in self.of.values() for cell, _ in cells.values()})


class Bytes:
    """A tokenizer in which pairs of letters are one token."""

    def tokenize(self, text: bytes, *, first: bool, special: bool) -> array:
        return array("i", [int.from_bytes(text[i : i + 2]) for i in range(0, len(text), 2)])


def run(tree: PrefixTree, cells: Cells, tokens: array) -> tuple[int, int]:
    """Evaluate a prompt and put it to rest; tokens reused and tokens evaluated again."""
    sequence = tree.take(tokens)
    reused = sequence.length
    tree.make_room(len(tokens) - reused)
    cells.evaluate(sequence.id, reused, tokens[reused:])
    repeated = tree.extend(sequence, tokens[reused:])
    assert cells.text(sequence.id) == list(tokens)
    tree.release(sequence, waiting=True)
    return reused, repeated


def test_the_tree_and_the_memory_agree_after_any_sequence_of_operations() -> None:
    for seed in range(60):
        pick = random.Random(seed)
        cells = Cells()
        tree = PrefixTree(cells, sequences=3 + seed % 4, cells=60)
        busy = []
        for _ in range(120):
            tokens = array("i", [pick.randrange(2) for _ in range(pick.randrange(1, 16))])
            if busy and pick.random() < 0.6:
                sequence, rest = busy.pop(pick.randrange(len(busy)))
                part = rest[: pick.randrange(1, len(rest) + 1)]
                tree.make_room(len(part))
                cells.evaluate(sequence.id, sequence.length, part)
                tree.extend(sequence, part)
                if len(part) == len(rest):
                    tree.release(sequence, waiting=pick.random() < 0.5)
                else:
                    busy.append((sequence, rest[len(part) :]))
            elif len(busy) < 2:
                length = tree.match(tokens).length
                sequence = tree.take(tokens)
                assert sequence.length == length < len(tokens)
                assert cells.text(sequence.id) == list(tokens[:length])
                busy.append((sequence, tokens[length:]))
            assert cells.count() == tree.used <= tree.cells
        for sequence, _ in busy:
            tree.release(sequence, waiting=False)
        tree.make_room(60)
        assert tree.used == cells.count() == 0


def test_ended_threads_are_dropped_before_threads_that_wait_and_what_is_dropped_is_counted_when_it_comes_back() -> None:
    cells = Cells()
    tree = PrefixTree(cells, sequences=8, cells=30)
    parent, child = array("i", range(10)), array("i", [0, 1, 2, *range(50, 60)])
    assert run(tree, cells, parent) == (0, 0)
    ended = tree.take(child)
    tree.extend(ended, child[3:])
    tree.release(ended, waiting=False)
    tree.make_room(20)
    assert tree.dropped == 0
    assert tree.match(array("i", [*parent, 99])).length == 10
    tree.make_room(25)
    assert tree.dropped == 1
    assert run(tree, cells, array("i", [*parent, 99])) == (0, 10)


def test_without_a_sequence_at_rest_the_cache_is_full() -> None:
    tree = PrefixTree(Cells(), sequences=1, cells=10)
    tree.take(array("i", [1, 2]))
    with pytest.raises(CacheFull):
        tree.take(array("i", [1, 2]))
    with pytest.raises(CacheFull):
        tree.make_room(11)


def test_a_memory_that_copies_whole_sequences_only_is_matched_where_they_end() -> None:
    cells = Cells()
    tree = PrefixTree(cells, sequences=4, cells=100, recurrent=True)
    run(tree, cells, array("i", [1, 2, 3, 4]))
    assert tree.match(array("i", [1, 2, 9])).length == 0
    assert tree.match(array("i", [1, 2, 3, 4, 5])).length == 4


def test_generated_tokens_are_kept_and_what_ran_beyond_the_stop_is_tokenised_with_the_text_that_follows() -> None:
    texts = Transcripts(Bytes())
    prompt = texts.encode("qq", "cc", "")
    texts.record(prompt, [(1, b"abc"), (2, b"de"), (3, b"=>\n")], len(b"abcde=>"))
    again = texts.encode("qq", "cc", "abcde=>xy")
    assert again.tokens[:4].tolist() == [*prompt.tokens, 1, 2]
    assert again.tokens[4:] == Bytes().tokenize(b"=>xy", first=False, special=False)
    assert texts.encode("qq", "cc", "abcdX").tokens[2:].tolist() == [
        1,
        *Bytes().tokenize(b"dX", first=False, special=False),
    ]


def test_tokens_of_a_thread_do_not_depend_on_text_that_another_thread_was_shown() -> None:
    texts = Transcripts(Bytes())
    texts.record(texts.encode("q", "c", "1"), [(7, b"zz")], 2)
    assert texts.encode("q", "c", "10").tokens == Transcripts(Bytes()).encode("q", "c", "10").tokens


def test_a_stop_string_is_found_across_tokens_and_the_earliest_wins() -> None:
    text = Text(("=>", "#END#"))
    assert not text.add(1, b"a =")
    assert text.add(2, b"> #END#")
    assert (str(text), text.stopped_by, text.known) == ("a ", 0, 4)


def test_a_character_split_over_tokens_is_whole_and_a_cut_one_is_left_out() -> None:
    text = Text(())
    for byte in "é€".encode()[:-1]:
        text.add(0, bytes([byte]))
    assert str(text) == "é"


def test_sampling_follows_the_distribution_and_top_p_cuts_its_tail() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    free, cut = Sampler(1.0, 1.0, 5, 0), Sampler(1.0, 0.7, 5, 0)
    drawn = np.bincount([free.choose(logits) for _ in range(4000)], minlength=4) / 4000
    assert np.abs(drawn - np.exp(logits)).max() < 0.03
    assert {cut.choose(logits) for _ in range(500)} == {0, 1}


async def test_greedy_output_without_our_kernels_is_that_of_llama_cpp_python(path: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    demand_plain_llama(path)
    model = LlamaModel(LlamaOptions(path, context=8192, kernels=False))
    ours = await model.complete(ask("", q=SHORT + "Q: Name three colours.\nA:", stop=(), max_tokens=32))
    await model.close()
    theirs = llama_cpp.Llama(str(path), n_ctx=1024, n_threads=2, verbose=False)
    answer = theirs.create_completion(
        SHORT + "Q: Name three colours.\nA:", max_tokens=32, temperature=0, repeat_penalty=1.0
    )
    theirs.close()
    assert ours.text == answer["choices"][0]["text"]


async def test_a_child_shares_q_and_a_resumed_parent_evaluates_nothing_again(model: LlamaModel) -> None:
    first = await model.complete(ask("Task: craft a chest.\n", q=Q, max_tokens=16))
    assert first.usage.prompt > 1500
    child = await model.complete(ask("Task: get wood.\n", q=Q, max_tokens=16, thread="0.0"))
    assert child.usage.prompt - child.usage.cached < 10
    assert child.usage.repeated == 0
    y = first.text + "=>" + child.text + "<=\n"
    resumed = await model.complete(ask("Task: craft a chest.\n", y, q=Q, max_tokens=4))
    assert resumed.usage.cached == first.usage.prompt + first.usage.generated - 1
    assert resumed.usage.repeated == 0


async def test_a_stop_string_ends_the_text_exactly_and_the_thread_goes_on_from_there(model: LlamaModel) -> None:
    free = await model.complete(ask("Q: Name a few animals.\nA:", stop=()))
    for stop in (free.text[5:8], free.text[9:11], free.text[4:12]):
        done = await model.complete(ask("Q: Name a few animals.\nA:", stop=(stop, "never")))
        at = free.text.index(stop)
        assert (done.text, done.stop) == (free.text[:at], "listen")
        more = await model.complete(ask("Q: Name a few animals.\nA:", done.text + stop + " 7 <=\n", max_tokens=2))
        assert more.usage.prompt - more.usage.cached < 12
    done = await model.complete(ask("Q: Name a few animals.\nA:", stop=("never", free.text[5:8])))
    assert done.stop == "end"
    assert free.stop == "length"
    assert free.usage.generated == 24


async def test_concurrent_requests_write_what_each_writes_alone(model: LlamaModel, path: Path) -> None:
    asks = [ask(count, max_tokens=16, thread=f"0.{i}") for i, count in enumerate(COUNTS)]
    together = await asyncio.gather(*map(model.complete, asks))
    assert sum(done.usage.repeated for done in together) == 0
    other = LlamaModel(LlamaOptions(path, context=1024))
    alone = [await other.complete(request) for request in asks]
    await other.close()
    assert [done.text for done in together] == [done.text for done in alone]


async def test_a_prefix_that_arrives_several_times_at_once_is_evaluated_once(path: Path) -> None:
    model = LlamaModel(LlamaOptions(path, context=2048, batch=64))
    done = await asyncio.gather(*(model.complete(ask(f"Q: {i} times 2?\nA:", max_tokens=4)) for i in range(6)))
    await model.close()
    assert sum(one.usage.repeated for one in done) == 0
    assert sum(one.usage.prompt - one.usage.cached for one in done) < done[0].usage.prompt + 60


async def test_sampling_depends_on_the_seed_and_not_on_company(model: LlamaModel) -> None:
    def draw(c: str, temperature: float, seed: int):
        return model.complete(ask(c, temperature=temperature, seed=seed, max_tokens=12))

    alone = await draw(COUNTS[0], 0.3, 3)
    again, one, other = await asyncio.gather(
        draw(COUNTS[0], 0.3, 3), draw("A story:", 1.5, 3), draw("A story:", 1.5, 4)
    )
    assert alone.text == again.text
    assert one.text != other.text


async def test_a_tiny_context_gives_the_same_text_at_the_price_of_evaluating_again(path: Path) -> None:
    async def play(context: int, sequences: int) -> tuple[list[str], int]:
        model = LlamaModel(LlamaOptions(path, context=context, sequences=sequences))
        texts, repeated = [], 0
        ys = ["", "", ""]
        for _ in range(2):
            asks = [ask(count, y, max_tokens=10) for count, y in zip(COUNTS, ys, strict=True)]
            done = await asyncio.gather(*map(model.complete, asks))
            ys = [y + one.text for y, one in zip(ys, done, strict=True)]
            texts += [one.text for one in done]
            repeated += sum(one.usage.repeated for one in done)
            filler = await model.complete(ask("", q="x y z " * 60, max_tokens=2))
            assert filler.usage.generated == 2
        await model.close()
        return texts, repeated

    ample, tight, few = await play(8192, 64), await play(256, 64), await play(8192, 1)
    assert ample[1] == 0
    assert tight[1] > 0
    assert tight[0] == ample[0] == few[0]


async def test_more_calls_than_the_context_holds_step_back_and_all_finish(path: Path) -> None:
    async def play(context: int) -> tuple[list[tuple[str, str, int]], int]:
        model = LlamaModel(LlamaOptions(path, context=context, batch=32))
        asks = [ask(f"Tell me about {i}.", q="", stop=(), max_tokens=100) for i in range(12)]
        done = await asyncio.gather(*map(model.complete, asks))
        await model.close()
        told = [(one.text, one.stop, one.usage.generated) for one in done]
        return told, sum(one.usage.repeated for one in done)

    ample, tight = await play(8192), await play(256)
    assert [stop for _, stop, _ in ample[0]].count("length") > 1
    assert tight[0] == ample[0]
    assert ample[1] == 0 < tight[1]


async def test_a_prompt_longer_than_the_context_is_the_threads_own_limit(path: Path) -> None:
    model = LlamaModel(LlamaOptions(path, context=256))
    with pytest.raises(LimitReached, match="do not fit the model's context of 256") as caught:
        await model.complete(ask("", q=Q))
    assert caught.value.limit == "context"
    assert (await model.complete(ask("Hello", q="", max_tokens=2))).usage.generated == 2
    full = await model.complete(ask("", q="word " * 250, stop=(), max_tokens=100))
    assert full.stop == "length"
    await model.close()


async def test_a_cancelled_call_stops_and_the_next_ones_are_unharmed(model: LlamaModel) -> None:
    endless = ask(COUNTS[0], stop=(), max_tokens=4000)
    neighbour = asyncio.create_task(model.complete(ask(COUNTS[1], max_tokens=12)))
    task = asyncio.create_task(model.complete(endless))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    short = await asyncio.wait_for(model.complete(ask(COUNTS[0], stop=(), max_tokens=8)), 10)
    assert short.text.startswith(" 7, 8")
    assert (await neighbour).text.startswith(" G, H")


async def test_closing_ends_calls_under_way_and_may_be_done_twice(path: Path) -> None:
    model = LlamaModel(LlamaOptions(path, context=512))
    task = asyncio.create_task(model.complete(ask("Go", q="", stop=(), max_tokens=400)))
    await model.open()
    await model.close()
    await model.close()
    with pytest.raises(ModelError, match="closed"):
        await task
    with pytest.raises(ModelError, match="closed"):
        await model.complete(ask("Go"))


async def test_each_way_to_fail_at_loading_is_one_line_that_says_what_to_do(path: Path, tmp_path: Path, capfd) -> None:
    text, cut = tmp_path / "text.gguf", tmp_path / "cut.gguf"
    text.write_text("no model")
    cut.write_bytes(head(path, 100_000))
    for options, words in (
        (LlamaOptions(tmp_path / "none.gguf"), "does not exist"),
        (LlamaOptions(text), "not a GGUF file"),
        (LlamaOptions(tmp_path), "cannot be read"),
        (LlamaOptions(cut), "llama.cpp cannot load"),
        (LlamaOptions(path, context=2_000_000_000), "not enough memory"),
        (LlamaOptions(path, adapters=(tmp_path / "none.gguf",)), "adapter file"),
        (LlamaOptions(path, adapters=(path,)), "does not fit the model"),
    ):
        model = LlamaModel(options)
        with pytest.raises(UserError, match=words) as caught:
            await model.open()
        assert "\n" not in caught.value.message
        assert "no reason given" not in caught.value.message
        await model.close()
    assert capfd.readouterr() == ("", "")


def head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def write_adapter(path: Path, weight: float) -> None:
    """A LoRA adapter of rank 1 for the first layer's query projection of SmolLM2 (576 by 576)."""

    def string(text: str) -> bytes:
        return struct.pack("<Q", len(text)) + text.encode()

    def tensor(name: str, shape: tuple[int, int], offset: int) -> bytes:
        return string(name) + struct.pack("<IQQIQ", 2, *shape, 0, offset)

    pairs = {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora"}
    head = b"GGUF" + struct.pack("<IQQ", 3, 2, 4)
    head += b"".join(string(key) + struct.pack("<I", 8) + string(value) for key, value in pairs.items())
    head += string("adapter.lora.alpha") + struct.pack("<If", 6, 1.0)
    head += tensor("blk.0.attn_q.weight.lora_a", (576, 1), 0) + tensor("blk.0.attn_q.weight.lora_b", (1, 576), 2304)
    head += b"\0" * (-len(head) % 32)
    path.write_bytes(head + np.full(1152, weight, np.float32).tobytes())


async def test_adapters_change_what_the_model_writes(path: Path, tmp_path: Path, model: LlamaModel) -> None:
    # With an adapter, llama.cpp computes the products, with other rounding: only a text in which no two tokens are nearly as likely is
    # the same as without one.
    numbers = ask("1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,", q="", max_tokens=12)
    story = ask("Once upon a time", q="", max_tokens=12)
    texts = {}
    for weight in (0.0, 3.0):
        write_adapter(tmp_path / f"{weight}.gguf", weight)
        adapted = LlamaModel(LlamaOptions(path, context=512, adapters=(tmp_path / f"{weight}.gguf",)))
        texts[weight] = [(await adapted.complete(request)).text for request in (numbers, story)]
        await adapted.close()
    assert texts[0.0][0] == (await model.complete(numbers)).text
    assert texts[0.0][1] != texts[3.0][1]


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("THREAD_CACHE", raising=False)
    assert cache_folder() == tmp_path / "thread-runner"
    monkeypatch.setenv("THREAD_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


PREPARE = "from thread_cli.models.llama import embedded_model_path; print(embedded_model_path(base=True))"


def test_two_processes_and_one_that_was_killed_leave_one_whole_model(path: Path, tmp_path: Path) -> None:
    env = {**os.environ, "THREAD_CACHE": str(tmp_path)}
    killed = subprocess.Popen([sys.executable, "-c", PREPARE], env=env, stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob("models/.*.part")) and killed.poll() is None:
        time.sleep(0.002)
    killed.kill()
    killed.wait()
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PREPARE], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    outputs = [process.communicate() for process in both]
    assert outputs[0] == outputs[1] == (f"{tmp_path / 'models' / path.name}\n", "")
    assert (tmp_path / "models" / path.name).read_bytes() == path.read_bytes()
    for left in tmp_path.glob("models/.*.part"):
        os.utime(left, (0, 0))
    (tmp_path / "models" / path.name).unlink()
    subprocess.run([sys.executable, "-c", PREPARE], env=env, check=True, capture_output=True)
    assert [file.name for file in (tmp_path / "models").iterdir()] == [path.name]


def test_a_full_disk_is_reported_in_one_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10**7, 10**7)); {PREPARE}"
    env = {**os.environ, "THREAD_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert "UserError: cannot write the embedded model" in done.stderr.splitlines()[-1]
    assert list((tmp_path / "models").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_reported(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("THREAD_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=os.strerror(errno.ENOTDIR)):
        embedded_model_path(base=True)


def test_a_process_that_never_closes_its_model_ends_cleanly(path: Path) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from thread_cli.models import Request\n"
        "from thread_cli.models.llama import LlamaModel, LlamaOptions\n"
        "model = LlamaModel(LlamaOptions(Path(sys.argv[1]), context=512))\n"
        "async def main():\n"
        "    task = asyncio.create_task(model.complete(Request('Go', '', '', (), 400)))\n"
        "    await asyncio.sleep(1)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
