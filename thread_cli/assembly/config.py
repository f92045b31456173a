"""The configuration of a run: TOML files < environment variables < flags, resolved into plain objects once.

Keys are dotted: `limits.calls`. Files are `thread.toml` in the user's configuration folder and in the working folder,
and the file that `--config` names. Environment variables are `THREAD_` and the key with two underscores for each dot:
`THREAD_LIMITS__CALLS=50`.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from thread_cli.contracts.errors import UserError
from thread_cli.contracts.limits import ChildLimits, Limits
from thread_cli.distribution import at_home
from thread_cli.models.embedded import BASE, EMBEDDED

__all__ = ["Bearing", "Config", "ModelConfig", "ModelSpec", "PriceConfig", "at_home", "deciding", "resolve"]

_TEXTS = {
    "environment",
    "task",
    "model",
    "model.spec",
    "prompt",
    "protocol",
    "phi",
    "psi",
    "log",
    "display",
    "on_failure",
}
"""Keys whose values are text, whatever else they look like."""


class Bearing(Enum):
    """What a setting affects. Each setting's annotation has one; the identity of a bench run follows from them."""

    result = "result"
    """It decides what threads write or do, so it is part of every episode's key."""
    part = "part"
    """It decides results, but in a bench run the suite's parts, or a section of its own, set it."""
    way = "way"
    """It decides how a result is computed or shown: speed, place, display."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which model is meant: `KIND`, or `KIND:REST`, read into its parts. Whether there is such a model is not asked."""

    text: str
    """As it was written."""
    kind: str
    rest: str = ""
    hub: str | None = None
    """Of `llama:hf:OWNER/REPO[:QUANT]`, what comes after `hf:`."""
    name: str = ""
    """Of `openai:NAME[@BASE_URL]`."""
    url: str | None = None
    faults: str = ""
    """Of `faulty:FAULTS+MODEL`."""
    inner: ModelSpec | None = None
    """The model that the faults are injected into; None where none is named."""

    @classmethod
    def of(cls, text: str) -> Self:
        """The spec that is written so."""
        kind, _, rest = text.partition(":")
        match kind:
            case "llama" if rest.startswith("hf:"):
                return cls(text, kind, rest, hub=rest.removeprefix("hf:"))
            case "openai":
                name, *urls = re.split(r"@(?=\w+://)", rest, maxsplit=1)
                return cls(text, kind, rest, name=name, url=urls[0] if urls else None)
            case "faulty":
                faults, plus, inner = rest.partition("+")
                return cls(text, kind, rest, faults=faults, inner=cls.of(inner) if plus else None)
            case _:
                return cls(text, kind, rest)

    @classmethod
    def of_this_machine(cls, text: str) -> Self:
        """The spec of a local model, which may be named by its file, or by `hf:OWNER/REPO[:QUANT]`, alone."""
        return cls.of(text if text in {EMBEDDED, BASE} or text.startswith("llama:") else f"llama:{text}")

    @property
    def innermost(self) -> ModelSpec:
        """The model that faults are injected into; of any other model its own spec."""
        return self if self.inner is None else self.inner.innermost


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, (str, Path)) else value


def _listed(value: Any) -> Any:
    """Numbers or names in a text, such as `3,1`, as a list; also a single number."""
    return (
        tuple(part.strip() for part in value.split(","))
        if isinstance(value, str)
        else (value,)
        if isinstance(value, (int, float))
        else value
    )


def _as_text(value: Any) -> Any:
    """A folder's name may be a number, which TOML reads as one; an empty one is a mistake."""
    if value == "":
        raise ValueError("the name of the folder is empty")
    return at_home(Path(str(value))) if isinstance(value, (int, str)) else value


def _as_width(value: Any) -> Any:
    """A number of threads, at least 1, or `auto`."""
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else value
    if number is not None and number != "auto" and (type(number) is not int or number < 1):
        raise ValueError(f"write a number of threads from 1 on, or auto, and not {value!r}")
    return number


Width = Annotated[int | Literal["auto"] | None, BeforeValidator(_as_width)]
"""How many threads of an episode may generate at once: a number; `auto`; None for any number."""


class PriceConfig(_Section):
    """US dollars per million tokens. Without it the provider's published price counts, if `genai-prices` knows one."""

    prompt: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0)
    """Price of cached prompt tokens; the price of `prompt` if not given."""
    generated: float = Field(ge=0)


class ModelConfig(_Section):
    """The model and how it is called."""

    spec: Annotated[str, Bearing.result] = "embedded"
    version: Annotated[str, Bearing.way] = ""
    """What this version of the model is called in the log of each episode; nothing for the spec."""
    logprobs: Annotated[bool, Bearing.way] = False
    """Whether the tokens that a local model writes are recorded, with their log-probabilities."""
    temperature: Annotated[float, Bearing.result] = Field(default=0.0, ge=0)
    attempts: Annotated[int, Bearing.way] = Field(default=10, ge=1)
    """How often a call is tried, of an API model."""
    retry_wait: Annotated[float, Bearing.way] = Field(default=0.5, gt=0)
    """Seconds before the first retry; doubled, with jitter, for each further one."""
    timeout: Annotated[float, Bearing.way] = Field(default=120, gt=0)
    """Seconds without a token after which an API call counts as hung."""
    extra: Annotated[dict[str, Any], Bearing.result] = Field(default_factory=dict[str, Any])
    """Further fields that each call of an API model sends, such as `{reasoning_effort = "low"}`."""
    gpu_layers: Annotated[int, Bearing.way] = Field(default=0, ge=-1)
    """Layers of a local model that are computed on the GPU; -1 for all."""
    split: Annotated[Literal["layer", "row", "none"], Bearing.way] = "layer"
    """How several GPUs share these layers; `none` puts all on one."""
    main_gpu: Annotated[int, Bearing.way] = Field(default=0, ge=0)
    """Number of the GPU that `split = "none"` uses."""
    tensor_split: Annotated[
        tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...], BeforeValidator(_listed), Bearing.way
    ] = ()
    """How much each GPU gets, in proportion: `3,1`."""
    flash_attention: Annotated[Literal["auto", "on", "off"], Bearing.result] = "auto"
    """Flash attention of a local model; `auto`: on for a CPU, llama.cpp's own choice for a GPU."""
    kv_type: Annotated[Literal["f32", "f16", "q8_0", "q4_0"], Bearing.result] = "f16"
    """Format of the keys and values in a local model's KV cache."""
    kernels: Annotated[bool, Bearing.result] = True
    """Whether a local model is computed by our own kernels where they can be used."""
    speculation: Annotated[bool, Bearing.way] = True
    """Whether a local model's next tokens are drafted, and verified several at a time (speculative decoding)."""
    adapters: Annotated[tuple[Path, ...], BeforeValidator(_several), Bearing.result] = ()
    """LoRA adapters (GGUF) of a local model."""
    context: Annotated[int | None, Bearing.way] = Field(default=None, ge=256)
    """KV cells of a local model's cache, shared by all threads."""
    cpu_threads: Annotated[int | None, Bearing.way] = Field(default=None, ge=1, le=256)
    price: Annotated[PriceConfig | None, Bearing.result] = None

    @property
    def named(self) -> ModelSpec:
        """The spec, read into its parts."""
        return ModelSpec.of(self.spec)


class Config(_Section):
    """Everything that decides what a run does."""

    environment: Annotated[str, Bearing.part] = "none"
    task: Annotated[str | None, Bearing.part] = None
    model: Annotated[ModelConfig, Bearing.part] = Field(default_factory=ModelConfig)
    prompt: Annotated[str | None, Bearing.part] = None
    protocol: Annotated[str | None, Bearing.part] = None
    """The wire format, where it is not the one that the prompt declares."""
    phi: Annotated[str | None, Bearing.part] = None
    psi: Annotated[str | None, Bearing.part] = None
    on_failure: Annotated[Literal["report", "retry", "abort"], Bearing.result] = "report"
    limits: Annotated[Limits, Bearing.result] = Field(default_factory=Limits)
    child_limits: Annotated[ChildLimits | None, Bearing.result] = None
    """What each spawned thread with all below it may spend."""
    watch: Annotated[tuple[str, ...], BeforeValidator(_listed), Bearing.result] = ()
    """Watchers of each episode, by name."""
    max_parallel: Annotated[Width, Bearing.way] = None
    """How many threads of an episode may be in a call of the model at once; `auto`: as many as pay with this model."""
    watchers: Annotated[dict[str, dict[str, Any]], Bearing.result] = Field(default_factory=dict[str, dict[str, Any]])
    """Settings of watchers, by name: arguments of their constructors."""
    branches: Annotated[int | None, Bearing.result] = Field(default=None, ge=2, le=1024)
    """Threads that answer the question each for itself; the answer of most is the episode's. None: one main thread."""
    options: Annotated[dict[str, Any], Bearing.part] = Field(default_factory=dict)
    """Options of the environment."""
    unsafe_python: Annotated[bool, Bearing.result] = False
    """Whether code that computes with data may run unconfined where the kernel cannot confine it."""
    seed: Annotated[int, Bearing.result] = 0
    log: Annotated[Path | None, BeforeValidator(_as_text), Bearing.way] = None
    display: Annotated[Literal["auto", "tree", "plain", "json", "none"], Bearing.way] = "auto"

    @classmethod
    def of(cls, **settings: Any) -> Config:
        """A configuration from these settings alone, such as `environment="textcraft", model="teacher"`.

        Raises:
            UserError: a setting does not exist, or its value does not fit.
        """
        return _checked(settings)


def deciding(section: type[BaseModel]) -> set[str]:
    """The settings of a section that decide a result (`Bearing.result`)."""
    return {name for name, field in section.model_fields.items() if Bearing.result in field.metadata}


def resolve(flags: dict[str, Any], *, file: Path | None = None, overrides: tuple[str, ...] = ()) -> Config:
    """The configuration from all its sources. `flags` may be nested; a value of None was not given.

    Raises:
        UserError: a file cannot be read, a key does not exist, a value does not fit.
    """
    merged: dict[str, Any] = {}
    for path in _files(file):
        _merge(merged, _read(path))
    _merge(merged, _from_environment())
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise UserError(f"-o {override}: write KEY=VALUE, such as -o limits.calls=50")
        _merge(merged, _nested(key.split("."), _value(value, key)))
    _merge(merged, flags)
    return _checked(merged)


def _checked(settings: dict[str, Any]) -> Config:
    merged: dict[str, Any] = {}
    _merge(merged, settings)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"configuration: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _files(file: Path | None) -> list[Path]:
    home = at_home(Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config"))
    found = [path for path in (home / "thread-runner" / "thread.toml", Path("thread.toml")) if os.access(path, os.R_OK)]
    return [*found, file] if file else found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"configuration {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"configuration {path} is not TOML: {error}") from None


def _from_environment() -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for name, value in os.environ.items():
        keys = name.removeprefix("THREAD_").lower().split("__")
        if name.startswith("THREAD_") and keys[0] in Config.model_fields:
            _merge(merged, _nested(keys, _value(value, ".".join(keys))))
    return merged


def _value(text: str, key: str) -> Any:
    """A value read as TOML or as a JSON object; else a string, as are values of keys that take text."""
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return _json_object(text)
    wanted_as_text = key in _TEXTS and type(value) not in {str, dict}
    return text if wanted_as_text else value


def _json_object(text: str) -> Any:
    """A JSON object, which a table may be given as; any other text as it is."""
    try:
        value = json.loads(text) if text.lstrip().startswith("{") else text
    except ValueError:
        return text
    return value


def _nested(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return value


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if value is None:
            continue
        section: Any = {"spec": value} if key == "model" and isinstance(value, str) else value
        if isinstance(section, dict) and not any(
            inner is not None for inner in cast("dict[str, Any]", section).values()
        ):
            continue
        if isinstance(section, dict):
            within = into.setdefault(key, {})
            if not isinstance(within, dict):
                raise UserError(f"configuration: {key} is given both as a value ({within!r}) and as a section")
            _merge(cast("dict[str, Any]", within), cast("dict[str, Any]", section))
        else:
            into[key] = section
