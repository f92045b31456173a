"""Formats of weights are tried in a child that may die, once; what was found decides how models are loaded, and if."""

from __future__ import annotations

import ctypes
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from processes import thread
from weights import TOKENS, adapter, distance, logits, matrices, tiny

from thread_cli.contracts.errors import UserError
from thread_cli.models.llama.door import Door, FormatDies, Kind, Passage
from thread_cli.models.llama.prepare import packaged
from thread_cli.models.llama.quantising import quantise

pytest.importorskip("llama_cpp")

import llama_cpp.llama_cpp as llama

from thread_cli.models.llama.backend import Backend
from thread_cli.models.llama.kinds import KNOWN, dies_by_itself, kinds_in
from thread_cli.models.llama.loading import load_model, quiet
from thread_cli.models.llama.specimen import specimen

if TYPE_CHECKING:
    pass

PROBE = """
import json, os, signal, sys, time
rules, log, extra, kernels, *kinds = sys.argv[1:]
rules, extra, kernels = json.loads(rules), extra.endswith("1"), kernels.endswith("1")
amx = kinds[0] == "--amx=1"
kinds = kinds[kinds[0].startswith("--amx"):]
for kind in kinds:
    with open(log, "a") as file:
        file.write(f"{kind} {extra:d}{kernels:d}\\n")
    when, how = rules.get(kind.partition("/")[0], ("False", ""))
    if eval(when):
        if how == "sleep":
            time.sleep(100)
        if how == "error":
            sys.exit("no space left")
        os.kill(os.getpid(), getattr(signal, how))
    print(kind, flush=True)
"""
Q4, Q6, Q8 = Kind("q4_K"), Kind("q6_K"), Kind("q8_0")
FULL = Passage(True, True)


class Trials:
    """A door whose children die by rules: for a format, when (in Python, of `extra`, `kernels` and `amx`) and of what."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "trials.txt"
        (folder / "probe.py").write_text(PROBE)

    def door(
        self, patience: float = 20, folder: Path | None = None, *, amx: bool = False, **rules: tuple[str, str]
    ) -> Door:
        program = [sys.executable, str(self._folder / "probe.py"), json.dumps(rules), str(self._log)]
        return Door(folder or self._folder / "door", program=program, patience=patience, amx=amx)

    def told(self) -> list[str]:
        """All trials so far."""
        return self._log.read_text().splitlines() if self._log.exists() else []


@pytest.fixture
def trials(tmp_path: Path) -> Trials:
    return Trials(tmp_path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THREAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("when", "passage"),
    [
        ("False", Passage(True, True)),
        ("extra", Passage(False, True)),
        ("kernels", Passage(True, False)),
        ("extra or kernels", Passage(False, False)),
    ],
)
def test_only_what_a_format_dies_of_is_left_out(trials: Trials, when: str, passage: Passage) -> None:
    assert trials.door(q4_K=(when, "SIGILL")).passage([Q4, Q6], kernels=True) == passage
    without = Passage(passage.extra_buffers, False)
    assert trials.door(q4_K=(when, "SIGILL")).passage([Q4, Q6], kernels=False) == without
    assert trials.door().passage([Q6], kernels=True) == FULL, "other formats keep all"


@pytest.mark.parametrize(
    ("when", "passage", "trial_count"),
    [
        ("False", Passage(), 1),
        ("kernels and amx", Passage(amx=False), 2),
        ("extra and (amx or not kernels)", Passage(amx=False), 2),
        ("extra", Passage(False), 3),
        ("kernels", Passage(kernels=False), 5),
        ("extra or kernels", Passage(False, False), 6),
    ],
)
def test_where_there_is_amx_our_kernels_are_tried_without_it_too(
    trials: Trials, when: str, passage: Passage, trial_count: int
) -> None:
    assert trials.door(amx=True, q4_K=(when, "SIGILL")).passage([Q4], kernels=True) == passage
    assert len(trials.told()) == trial_count
    [tried] = trials.door(amx=True).known()
    assert ("without AMX" in str(tried)) == (when != "False")


def test_what_was_found_is_remembered(trials: Trials) -> None:
    first = trials.door(q4_K=("extra", "SIGILL")).passage([Q4, Q6], kernels=True)
    before = trials.told()
    assert before == ["q4_K/llama 11", "q6_K/llama 11", "q4_K/llama 01"]
    assert trials.door().passage([Q4, Q6], kernels=True) == first
    assert trials.told() == before
    assert trials.door().passage([Q4, Q6, Q8], kernels=True) == first
    assert trials.told() == [*before, "q8_0/llama 11"]


@pytest.mark.parametrize("how", ["SIGILL", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE"])
def test_a_format_that_dies_in_every_way_is_refused_in_a_line(trials: Trials, how: str) -> None:
    for _ in range(2):
        with pytest.raises(FormatDies) as caught:
            trials.door(q4_K=("True", how)).passage([Q8, Q4], kernels=True)
        assert caught.value.exit_code == 4
        assert "\n" not in caught.value.message
        assert caught.value.message.startswith(f"weights in q4_K do not run on this processor: a trial died ({how})")
    assert len(trials.told()) == 5, "the second time nothing is tried"


def test_a_child_that_hangs_counts_as_dead(trials: Trials) -> None:
    assert trials.door(patience=1.5, q4_K=("extra", "sleep")).passage([Q4], kernels=False) == Passage(False, False)
    [tried] = trials.door().known()
    assert str(tried) == (
        "runs with extra buffers off, our kernels off (no end within 2 s with extra buffers on, our kernels off)"
    )


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL", "error"])
def test_what_says_nothing_of_a_format_is_not_remembered(trials: Trials, how: str) -> None:
    assert trials.door(q4_K=("True", how)).passage([Q4], kernels=True) == FULL
    assert trials.door().known() == []
    assert trials.door(q4_K=("extra", "SIGILL")).passage([Q4], kernels=True) == Passage(False, True)


@pytest.mark.parametrize(
    "broken", ["", "{", '{"kind": "q4_K/llama"}', '{"kind": "q6_K/llama", "wanted_kernels": true}']
)
def test_a_broken_memory_is_made_anew(trials: Trials, tmp_path: Path, broken: str) -> None:
    door = trials.door(q4_K=("extra", "SIGILL"))
    door.passage([Q4], kernels=True)
    [file] = (tmp_path / "door").glob("*.json")
    whole = file.read_text()
    file.write_text(broken)
    assert door.passage([Q4], kernels=True) == Passage(False, True)
    assert file.read_text() == whole


def test_many_at_once_find_and_keep_the_same(trials: Trials, tmp_path: Path) -> None:
    door = trials.door(q4_K=("extra", "SIGILL"))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: door.passage([Q4, Q8], kernels=True), range(8)))
    assert set(found) == {Passage(False, True)}
    assert len(list((tmp_path / "door").iterdir())) == 2


def test_a_place_that_cannot_be_written_to_keeps_nobody_from_running_a_model(trials: Trials, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    door = trials.door(folder=tmp_path / "file", q4_K=("extra", "SIGILL"))
    assert door.passage([Q4], kernels=True) == Passage(False, True)


@pytest.mark.parametrize("architecture", KNOWN)
def test_every_format_of_llama_cpp_runs_here_in_the_real_probe_or_is_named(tmp_path: Path, architecture: str) -> None:
    formats = ["f32", "f16", "bf16", "q4_0", "q5_0", "q8_0", "q4_K", "q5_K", "q6_K", "iq4_nl", "iq2_xxs", "mxfp4"]
    kinds = [Kind(each, architecture) for each in formats]
    if architecture == "llama":
        kinds.append(Kind("q4_K", architecture, experts=True))
    door = Door(tmp_path / "door")
    try:
        door.passage(kinds, kernels=True)
    except FormatDies as death:
        assert "do not run on this processor" in death.message
    assert {tried.kind for tried in door.known() if tried.wanted_kernels} == set(map(str, kinds))


def test_the_kinds_of_a_file_are_those_of_its_matrices(tmp_path: Path) -> None:
    assert kinds_in([packaged()]) == {Kind("q4_1"), Kind("q8_0")}
    quantise(packaged(), tmp_path / "mixed.gguf", "q4_k_m", threads=2, left_out=range(2, 30))
    assert {kind.architecture for kind in kinds_in([tmp_path / "mixed.gguf"])} == {"llama"}
    assert len(kinds_in([tmp_path / "mixed.gguf"])) > 1
    assert kinds_in([tiny(tmp_path / "t.gguf", architecture="qwen3")]) == {Kind("f32", "qwen3")}
    lora = adapter(tmp_path / "lora.gguf", {"blk.0.attn_q.weight": matrices(576, 4)})
    assert kinds_in([packaged(), lora]) == {Kind("q4_1"), Kind("q8_0"), Kind("f32")}
    specimen(tmp_path / "experts.gguf", Kind("q6_K", "llama", experts=True))
    found = kinds_in([tmp_path / "experts.gguf"], gpu=True)
    assert found == {Kind("q6_K", "llama", experts, gpu=True) for experts in (False, True)} | {Kind("f32", gpu=True)}
    (tmp_path / "no.gguf").write_bytes(b"GGUF" + bytes(40))
    assert kinds_in([tmp_path / "no.gguf"]) == set()


def test_parts_of_a_model_are_all_looked_at(tmp_path: Path) -> None:
    specimen(tmp_path / "m-00001-of-00002.gguf", Q4)
    specimen(tmp_path / "m-00002-of-00002.gguf", Q8)
    assert kinds_in([tmp_path / "m-00001-of-00002.gguf"]) == {Q4, Q8}


def test_extra_buffers_are_left_out_where_they_are_to_be(tmp_path: Path) -> None:
    lines: list[str] = []

    @llama.llama_log_callback
    def log(_level: int, text: bytes, _data: Any) -> None:
        lines.append(text.decode("utf-8", "replace"))

    specimen(tmp_path / "m.gguf", Kind("q4_0"))
    llama.llama_backend_init()
    llama.llama_log_set(log, ctypes.c_void_p(0))
    try:
        buffers: list[set[str]] = []
        for extra in (True, False):
            lines.clear()
            llama.llama_model_free(load_model(tmp_path / "m.gguf", extra_buffers=extra))
            buffers.append({line.split("model buffer size")[0].split()[-1] for line in lines if "buffer size" in line})
    finally:
        quiet()
    if not buffers[0] & {"CPU_REPACK", "AMX"}:
        pytest.skip("llama.cpp has no extra buffers for this processor")
    assert not buffers[1] & {"CPU_REPACK", "AMX"}


def record(trials: Trials, cache: Path, model: Path, **rules: tuple[str, str]) -> None:
    """Let trials of this model's weights, that die by rules, be what is remembered on this machine."""
    folder = Door().folder
    assert cache in folder.parents
    for kernels in (True, False):
        try:
            trials.door(folder=folder, **rules).passage(kinds_in([model]), kernels=kernels)
        except FormatDies:
            continue


@pytest.fixture(scope="module")
def two_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("two") / "layers.gguf"
    quantise(packaged(), path, "q4_0", threads=2, left_out=range(2, 30))
    return path


@pytest.fixture
def small(two_layers: Path, tmp_path: Path) -> Path:
    path = tmp_path / "small.gguf"
    path.hardlink_to(two_layers)
    return path


def test_a_model_whose_format_dies_with_extra_buffers_runs_without(trials: Trials, cache: Path, small: Path) -> None:
    whole = logits(small, kernels=False, passage=FULL)
    record(trials, cache, small, q4_0=("extra", "SIGILL"))
    made = Backend(small, context=64, sequences=1, batch=16, threads=1, kernels=False)
    made.close()
    assert made.passage == Passage(False, False)
    assert distance(whole, logits(small, kernels=False)) < 0.2
    assert len(TOKENS) == len(whole)
    assert dies_by_itself(small) is not None


def test_our_kernels_are_off_where_a_format_dies_with_them(trials: Trials, cache: Path, small: Path) -> None:
    record(trials, cache, small, q4_0=("kernels", "SIGSEGV"))
    made = Backend(small, context=64, sequences=1, batch=16, threads=1)
    made.close()
    assert (made.passage.kernels, made.own) == (False, False)
    assert dies_by_itself(small) is None


@pytest.mark.parametrize(
    "command",
    [
        ["run", "none", "Go.", "--model", "llama:small.gguf"],
        ["bench", "load.toml", "--model", "llama:small.gguf", "--display", "none"],
        ["serve", "small.gguf", "--port", "0"],
    ],
    ids=lambda command: command[0],
)
def test_commands_refuse_a_model_that_does_not_run_in_a_line(
    trials: Trials, cache: Path, small: Path, tmp_path: Path, command: list[str]
) -> None:
    record(trials, cache, small, q4_0=("True", "SIGILL"))
    (tmp_path / "load.toml").write_text('[[parts]]\nenvironment = "textcraft"\nsplit = "all"\ntasks = 12\n')
    ran = thread(*command, cwd=tmp_path)
    assert ran.returncode == 4, ran.stderr
    assert ran.stderr.startswith("thread: weights in q4_0 do not run on this processor: a trial died (SIGILL)")
    assert ran.stderr.count("\n") == 1


def test_thread_models_tells_what_was_found(trials: Trials, cache: Path, small: Path, tmp_path: Path) -> None:
    assert "have been tried" not in thread("models", cwd=tmp_path).stdout
    record(trials, cache, small, q4_0=("extra", "SIGILL"), q8_0=("True", "SIGBUS"), q6_K=("True", "SIGBUS"))
    told = thread("models", cwd=tmp_path, COLUMNS="200").stdout
    assert "q4_0/llama" in told
    assert "extra buffers off, our kernels off (SIGILL with extra buffers on, our kernels off)" in told
    assert "does not run: SIGBUS with" in told


def test_a_format_that_dies_is_left_out_where_formats_are_measured(
    trials: Trials, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thread_cli.models.llama.loading import read_header
    from thread_cli.models.llama.speeds import Machine, measured

    monkeypatch.setattr("thread_cli.models.llama.speeds._ENOUGH", 0.0)
    source = tmp_path / "half.gguf"
    quantise(tiny(tmp_path / "exact.gguf", width=256), source, "f16", threads=2)
    specimen(tmp_path / "iq.gguf", Kind("iq4_nl"))
    record(trials, cache, tmp_path / "iq.gguf", iq4_nl=("True", "SIGILL"))
    told: list[str] = []
    found = measured(source, "0", read_header(source), Machine.here(2), told.append)
    assert list(found.speeds) == ["q8_0", "q4_k_m", "q4_0"]
    assert any(line.startswith("iq4_nl is left out: weights in iq4_nl do not run") for line in told)


def test_a_file_that_is_no_model_is_refused_before_anything_is_tried(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "no.gguf").write_bytes(b"GGUF" + bytes(40))
    for name, reason in (("no.gguf", "cannot load"), ("none.gguf", "does not exist")):
        with pytest.raises(UserError, match=reason):
            Backend(tmp_path / name, context=64, sequences=1, batch=16, threads=1)
    assert not list(cache.glob("door/*/*.json"))
