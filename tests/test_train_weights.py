"""Weights between llama.cpp and torch: on the real SmolLM2, and on a tiny model of random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest
from weights import adapter, byte_tokens, logits, tiny

from thread_cli.contracts.errors import UserError
from thread_cli.models.llama.backend import Backend
from thread_cli.models.llama.merging import Merge
from thread_cli.models.llama.prepare import packaged
from thread_cli.models.llama.quantising import quantise

torch = pytest.importorskip("torch")
weights = pytest.importorskip("thread_cli.train.weights")
vocabulary = pytest.importorskip("thread_cli.train.vocabulary").vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXT = (
    "Crafting commands: craft 3 oak planks using 1 oak logs.\n\n> I need 12 sticks, then 2 planks.  \n"
    "#END#=><|im_start|> naïve ½ 🪓 <|endoftext|>\n"
)
SHORT = "Goal: craft a stick. #END#=>"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny(tmp_path / "tiny.gguf")


def in_torch(model: Any, tokens: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0].numpy()


def changed(model: Any) -> Any:
    """An adapted model whose adapter does something in every layer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights.restore(
            model,
            {
                name: torch.randn_like(values) / 20 if "lora_B" in name else values
                for name, values in weights.save(model).items()
            },
        )
    return model


def test_an_adapter_does_to_smollm2_in_llama_cpp_what_it_does_in_torch(tmp_path: Path) -> None:
    base = weights.load()
    tokens = base.vocabulary.encode(TEXT, first=True)
    assert len(tokens) > 40
    exact, made, unordered = (tmp_path / f"{name}.gguf" for name in ("f32", "lora", "unordered"))
    quantise(packaged(), exact, "f32", threads=2)
    plain = in_torch(base.model, tokens)
    model = changed(weights.adapted(base, rank=8, alpha=16.0))
    wanted = in_torch(model, tokens)
    weights.export(model, made)
    pairs = _pairs(made) | {
        f"blk.{layer}.attn_{kind}.weight": tuple(
            weights.save(model)[
                f"base_model.model.model.layers.{layer}.self_attn.{kind}_proj.lora_{each}.default.weight"
            ].numpy()
            for each in "AB"
        )
        for layer in range(30)
        for kind in "qk"
    }
    adapter(unordered, pairs, alpha=16.0)

    def off(path: Path, *adapters: Path) -> float:
        return float(np.abs(logits(path, adapters, tokens, kv_type="f32", flash_attention="off") - wanted).max())

    found = {
        "no adapter": float(np.abs(logits(exact, (), tokens, kv_type="f32", flash_attention="off") - plain).max()),
        "at run time": off(exact, made),
        "rows of q and k unordered": off(exact, unordered),
        "what the adapter changes": float(np.abs(plain - wanted).max()),
    }
    print("\nlargest difference of a logit:", {what: round(number, 5) for what, number in found.items()})
    assert found["no adapter"] < 1e-3
    assert found["at run time"] < 1e-2, "A and B are rounded to 16 bits"
    assert found["rows of q and k unordered"] > 0.5
    assert found["what the adapter changes"] > 1


def _pairs(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    names = {name.rpartition(".")[0] for name in tensors}
    return {name: (tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]) for name in names}


def test_an_adapter_once_merged_does_what_it_does_in_torch(model: Path, tmp_path: Path) -> None:
    made, merged = tmp_path / "lora.gguf", tmp_path / "merged.gguf"
    base = weights.load(model)
    tokens = base.vocabulary.encode(TEXT, first=True)
    adapted = changed(weights.adapted(base, rank=8, alpha=16.0))
    weights.export(adapted, made)
    Merge(model, [made]).write(merged, lambda _: None)
    wanted = in_torch(adapted, tokens)
    assert np.abs(logits(merged, (), tokens, kv_type="f32", flash_attention="off") - wanted).max() < 2e-2
    assert np.abs(in_torch(weights.load(merged).model, tokens) - wanted).max() < 2e-2


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("source", [packaged, None], ids=["smollm2", "tiny"])
def test_tokens_are_the_llama_backends(source: Callable[[], Path] | None, first: bool, model: Path) -> None:
    path = source() if source else model
    known = vocabulary(path)
    backend = Backend(path, context=64, sequences=1, batch=16, threads=1)
    try:
        for text in (TEXT, "", " a", "\n\n", "a\n\n", "\n" + SHORT, "lone \udc80 surrogate"):
            tokens = backend.vocabulary.tokenize(text.encode("utf-8", "replace"), first=first, special=False)
            assert known.encode(text, first=first) == list(tokens)
    finally:
        backend.close()


def test_a_folder_of_hugging_face_is_the_model_that_its_file_is(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base, folder = weights.load(model), _folder(model, tmp_path / "folder")
    capfd.readouterr()
    other = weights.load(folder)
    assert not "".join(capfd.readouterr())
    for first in (True, False):
        for text in (TEXT, SHORT, "a\n\n", "<|end|>", ""):
            assert other.vocabulary.encode(text, first=first) == base.vocabulary.encode(text, first=first)
    tokens = base.vocabulary.encode(SHORT, first=True)
    assert np.array_equal(in_torch(base.model, tokens), in_torch(other.model, tokens))
    made = tmp_path / "made.gguf"
    weights.export(changed(weights.adapted(other, rank=4, alpha=8.0)), made)
    expected = in_torch(other.model, tokens)
    assert np.abs(logits(model, [made], tokens, kv_type="f32", flash_attention="off") - expected).max() < 0.02


def test_a_vocabulary_that_puts_a_space_before_a_text_does_so_before_the_first_one_only(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = ["<unk>", "<s>", "</s>", "▁", "a", "b", "\n", "▁a"]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, [("▁", "a")], unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    folder = _folder(tiny(tmp_path / "tiny.gguf"), tmp_path / "folder")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    vocabulary = weights.load(folder).vocabulary
    assert vocabulary.encode("ab", first=True) == [1, 7, 5]
    assert vocabulary.encode("ab", first=False) == [4, 5]
    assert vocabulary.encode(" ab", first=False) == [7, 5]


def _folder(model: Path, folder: Path) -> Path:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    weights.load(model).model.save_pretrained(folder)
    tokens = [*byte_tokens(), "ĊĊ", "<|end|>"]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, [("Ċ", "Ċ")]))
    digits, letters = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, letters])
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>").save_pretrained(folder)
    return folder


def test_a_new_adapter_follows_from_its_seed_and_changes_nothing(model: Path) -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    plain = in_torch(weights.load(model).model, [1, 2, 3])
    made = [weights.adapted(weights.load(model), rank=4, alpha=8.0, seed=seed) for seed in (1, 1, 2)]
    one, same, other = (weights.save(each) for each in made)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
    assert np.array_equal(in_torch(made[0], [1, 2, 3]), plain)
    assert {name for name, values in made[0].named_parameters() if values.requires_grad} == one.keys()
    assert len(one) == 2 * 7 * 2
    assert torch.equal(torch.random.get_rng_state(), state)


def test_an_adapter_comes_back_from_what_was_saved_and_from_its_file(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    one = changed(weights.adapted(weights.load(model), rank=4, alpha=8.0, seed=1))
    weights.export(one, path, {"training.seed": "1", "training.data": "two runs"})
    for take in (lambda each: weights.restore(each, weights.save(one)), lambda each: weights.import_(path, each)):
        other = weights.adapted(weights.load(model), rank=4, alpha=8.0, seed=2)
        take(other)
        assert np.abs(in_torch(other, [1, 2, 3]) - in_torch(one, [1, 2, 3])).max() < 0.01
    again = tmp_path / "again.gguf"
    weights.export(other, again, {"training.seed": "1", "training.data": "two runs"})
    assert again.read_bytes() == path.read_bytes()
    fields = gguf.GGUFReader(path).fields
    assert fields["training.data"].contents() == "two runs"
    assert {tensor.tensor_type for tensor in gguf.GGUFReader(path).tensors} == {gguf.GGMLQuantizationType.F16}


def test_weights_of_another_adapter_are_refused(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    mine = weights.adapted(weights.load(model), rank=4, alpha=8.0)
    before = weights.save(mine)
    others = {
        "another rank": weights.adapted(weights.load(model), rank=2, alpha=8.0),
        "alpha 4.0, not 8.0": weights.adapted(weights.load(model), rank=4, alpha=4.0),
        "other layers": weights.adapted(weights.load(model), rank=4, alpha=8.0, targets=["q_proj"]),
        "another model": weights.adapted(weights.load(tiny(tmp_path / "b.gguf", layers=1)), rank=4, alpha=8.0),
    }
    for words, other in others.items():
        weights.export(other, path)
        with pytest.raises(UserError, match=words if "alpha" in words else "is of another rank, changes other layers"):
            weights.import_(path, mine)
        if "alpha" not in words:
            with pytest.raises(UserError, match="of another rank, of other layers or for another model"):
                weights.restore(mine, weights.save(other))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match="not a whole GGUF file"):
        weights.import_(path, mine)
    with pytest.raises(UserError, match="is not a LoRA adapter"):
        weights.import_(model, mine)
    assert all(torch.equal(values, before[name]) for name, values in weights.save(mine).items())


def test_a_diverged_adapter_is_not_written(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    made = weights.adapted(weights.load(model), rank=4, alpha=8.0)
    for number in (float("nan"), float("inf"), 1e6):
        weights.restore(made, {name: torch.full_like(each, number) for name, each in weights.save(made).items()})
        with pytest.raises(UserError, match=r"'blk\.0\.attn_q\.weight' do not fit 16 bits"):
            weights.export(made, path)
    assert list(tmp_path.iterdir()) == [model]


def test_a_model_that_cannot_be_trained_is_refused_in_one_line(model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("no model")
    (tmp_path / "cut.gguf").write_bytes(model.read_bytes()[:1000])
    (tmp_path / "empty").mkdir()
    other, broken = (_folder(model, tmp_path / name) for name in ("other", "broken"))
    (other / "config.json").write_text('{"model_type": "qwen2"}')
    (broken / "model.safetensors").write_bytes(b"12345678")
    cases = {
        tmp_path / "none.gguf": "does not exist",
        tmp_path / "text.gguf": "is not a GGUF file",
        tmp_path / "cut.gguf": "llama.cpp cannot load",
        tmp_path / "empty": "holds no model that transformers can load",
        tiny(tmp_path / "qwen2.gguf", architecture="qwen2"): "architecture 'qwen2'; only llama's",
        tiny(tmp_path / "biased.gguf", extra="blk.0.attn_q.bias"): "such as 'blk.0.attn_q.bias'",
        tiny(tmp_path / "short.gguf", left_out="blk.1.ffn_up.weight"): "lacks 'blk.1.ffn_up.weight'",
        other: "architecture 'qwen2'; only llama's",
        broken: "holds no model that transformers can load",
    }
    for path, words in cases.items():
        with pytest.raises(UserError, match=words) as caught:
            weights.load(path)
        assert "\n" not in caught.value.message
