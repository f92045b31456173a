"""The plan of a run in `bench.toml`, and the episodes that follow from it.

Everything that decides a result goes into an episode's key, and the keys of all episodes make the run's identity.
Indices, times, machines and paths do not, nor do settings that only change the speed (concurrency, retries, threads of
the processor).
"""

from __future__ import annotations

import hashlib
import json
import random
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, cast

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from thread_cli.assembly.config import Config, ModelConfig, ModelSpec, at_home, deciding
from thread_cli.assembly.environments import paths_of
from thread_cli.bench.suite import Part, Suite, Variant
from thread_cli.contracts.errors import UserError
from thread_cli.contracts.limits import Limits
from thread_cli.contracts.protocol import Orphans
from thread_cli.interpreters.variables import described
from thread_cli.models.embedded import specialist_digest
from thread_cli.record.folder import versions, without_none

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from thread_cli.contracts.environment import Task
    from thread_cli.protocols.prompt import Prompt

__all__ = ["Item", "Plan", "fingerprint", "key_of", "prompt_hash", "selected"]

_DIGITS: Final = 20
_OF_FILES: Final = ("llama", "scripted", "replay")
_NOT_OF_THE_SUITE: Final = (
    "name", "description", "metric", "published", "reserved", "method", "limits", "max_parallel", "branches", "watch",
)  # fmt: skip
"""What only tells of results, and what stands elsewhere in the plan."""
_KEPT: Final = (
    "on_failure", "child_limits", "watch", "watchers", "branches", "unsafe_python", "seed", "max_parallel"
)  # fmt: skip
"""Settings that all episodes share."""
_LATER: Final = {"extra", "max_reasoning_tokens", "setup", "chat"}
"""Settings that were added after keys."""
_CHOSEN: Final = ("prompt", "protocol", "phi", "psi")
"""Settings that the configuration, a variant or a part may give."""
_OF_VARIANTS: Final = ("branches", "watch", "watchers")
"""Settings of the run that a variant may have otherwise."""
_NOT_OF_THE_PROMPT: Final = {"description", "default", "category", "model", "max_parameters"}
"""Fields that only decide where a prompt is used."""


class Plan(BaseModel):
    """A resolved run, as in `bench.toml`. Parts, variants and limits are final; suite and configuration are not read
    again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    identity: str = ""
    """Hash of the keys of all episodes."""
    keys: Literal[1, 2, 3] = 3
    """The generation of keys. Runs begun by earlier versions keep theirs: 1 leaves out settings that were added after
    keys, unless they are set; 1 and 2 leave out `model.kernels`.
    """
    method: str
    model: str
    specialist: str = ""
    """Digest of the adapter that is shipped with the model, where there is one."""
    seed: int
    epochs: int = Field(default=1, ge=1)
    limit: int | None = Field(default=None, ge=1)
    """Tasks of each part."""
    shuffle: bool = False
    created: str
    versions: Mapping[str, str]
    tasks: Mapping[str, str] = Field(default_factory=dict[str, str])
    """For each part, in words, a hash of the tasks that are played."""
    prompts: Mapping[str, tuple[str, ...]] = Field(default_factory=dict[str, tuple[str, ...]])
    """For each prompt used, by name, the hashes of its resolved texts: `prompts/HASH.txt`."""
    episodes: int | None = None
    """Number of episodes of the complete run; None before its tasks are known."""
    config: Config
    suite: Suite

    @classmethod
    def of(
        cls,
        suite: Suite,
        config: Config,
        *,
        method: str | None = None,
        epochs: int = 1,
        limit: int | None = None,
        shuffle: bool = False,
    ) -> Self:
        """The plan of a suite under a configuration. What the user has set wins over the suite's parts and limits."""
        limits = Limits.model_validate(_given(suite.limits) | _given(config.limits))
        own = {name: value for name in _CHOSEN if (value := getattr(config, name)) is not None}
        parts = [part.model_copy(update={**own, "options": {**part.options, **config.options}}) for part in suite.parts]
        adapters = tuple(at_home(path).absolute() for path in config.model.adapters)
        model = config.model.model_copy(update={"spec": _anywhere(config.model.named), "adapters": adapters})
        return cls(
            method=method or suite.method,
            model=config.model.spec,
            specialist=specialist_digest(config.model.named.innermost.text),
            seed=config.seed,
            epochs=epochs,
            limit=limit,
            shuffle=shuffle,
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            versions=versions() | {"variables": described(unsafe=config.unsafe_python)},
            config=Config.model_validate(
                {"limits": limits, "model": model}
                | {name: getattr(config, name) for name in _KEPT}
                | ({"max_parallel": suite.max_parallel} if config.max_parallel is None else {})
                | {"watch": config.watch or suite.watch, "branches": config.branches or suite.branches}
            ),
            suite=suite.model_copy(
                update={
                    "parts": tuple(map(_part_anywhere, parts)),
                    "variants": tuple(
                        variant.model_copy(update=_prompt_anywhere(variant)) for variant in suite.variants
                    ),
                    "limits": limits,
                }
            ),
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """The plan in a file; raises UserError where there is none."""
        try:
            fields = tomllib.loads(path.read_text("utf-8"))
            return cls.model_validate({"keys": _generation(fields)} | fields)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from None
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        except ValueError as error:
            raise UserError(f"{path} is not TOML: {error}") from None

    def written(self) -> bytes:
        """The plan as the bytes of its file."""
        return tomli_w.dumps(without_none(self.model_dump(mode="json"))).encode()

    def config_of(self, part: Part, variant: Variant | None = None) -> Config:
        """What a part is played with: the variant's settings go before the part's, and these before the plan's."""
        update: dict[str, Any] = {"environment": part.environment, "options": dict(part.options)}
        for name in _CHOSEN:
            update[name] = (variant and getattr(variant, name)) or getattr(part, name)
        for name in _OF_VARIANTS:
            if variant is not None and (value := getattr(variant, name)) is not None:
                update[name] = value
        return self.config.model_copy(update=update)

    def settled(self, tasks: Mapping[str, str], prompts: Mapping[str, tuple[str, ...]], keys: Iterable[str]) -> Self:
        """The plan completed by tasks, prompts, and the keys of its episodes."""
        known = sorted(keys)
        found = {"episodes": len(known), "identity": _digest(known)[:_DIGITS]}
        return self.model_copy(update={"tasks": dict(tasks), "prompts": dict(prompts), **found})

    def matters(self) -> dict[str, Any]:
        """The values that decide the run, by dotted name, to show how two runs differ."""
        suite = self.suite.model_dump(mode="json", exclude=set(_NOT_OF_THE_SUITE))
        for part, dumped in zip(self.suite.parts, suite["parts"], strict=True):
            dumped["options"] = _deciding(part)
        config = _decisions(self.config)
        model = _model(self)
        chosen = {name: getattr(self, name) for name in ("method", "epochs", "limit", "shuffle")}
        return _flat({**chosen, **config, "model": model, "suite": suite, "tasks": self.tasks, "prompts": self.prompts})

    def same_run(self, other: Plan) -> bool:
        """Whether another settled plan plays the same episodes with the same model."""
        return self.identity == other.identity and _model(self) == _model(other)

    def difference(self, other: Plan) -> str | None:
        """The difference to another plan, in words; None if both play the same."""
        mine, its = self.matters(), other.matters()
        changed = [name for name in sorted(mine.keys() | its.keys()) if mine.get(name) != its.get(name)]
        described = [f"{name} was {_short(mine.get(name))}, is now {_short(its.get(name))}" for name in changed[:3]]
        more = f", and {len(changed) - 3} more" if len(changed) > 3 else ""
        return "; ".join(described) + more if changed else None


@dataclass(frozen=True, slots=True)
class Item:
    """One episode of a run: its task, variant and epoch, and its key."""

    key: str
    part: int
    task: Task
    method: str
    variant: Variant | None
    epoch: int


def selected(tasks: Sequence[Task], plan: Plan) -> list[Task]:
    """The tasks of a part that a run plays, in the order of playing."""
    chosen = list(tasks)
    if plan.shuffle:
        random.Random(plan.seed).shuffle(chosen)
    return chosen[: plan.limit]


def key_of(
    plan: Plan, part: int, task: Task, *, method: str, variant: Variant | None, prompt: Prompt, epoch: int
) -> str:
    """The key of an episode.

    Raises:
        UserError: the task's data cannot be hashed in a reproducible way.
    """
    where, config = plan.suite.parts[part], _decisions(plan.config)
    decisive = {
        "task": [where.environment, where.split, task.id, task.text, task.category, _plain(task)],
        "options": _deciding(where),
        "config": config | {"limits": _key_part(Limits, config["limits"], plan.keys)},
        "model": _keyed(plan),
        "prompt": prompt_hash(prompt, plan.keys),
        "method": method,
        "variant": variant and _variant(variant),
        "epoch": epoch,
    }
    return _digest(decisive)[:_DIGITS]


def _variant(variant: Variant) -> dict[str, Any]:
    """A variant's part of a key: of settings that earlier versions did not know, those that are given."""
    unset = {name for name in _OF_VARIANTS if getattr(variant, name) is None}
    return variant.model_dump(mode="json", exclude=unset if variant.protocol else {*unset, "protocol"})


def prompt_hash(prompt: Prompt, keys: int) -> str:
    """Hash of a prompt's text and rules, in the generation `Plan.keys`."""
    rules = prompt.rules.model_dump(mode="json", exclude=_NOT_OF_THE_PROMPT)
    if prompt.rules.orphans is Orphans.awaited:
        del rules["orphans"]  # earlier versions knew no others
    if prompt.rules.protocol == "thread":
        del rules["protocol"]  # nor did they know other formats
    # Rules that no earlier version knew are told where they are set: else keys are as they always were.
    later = [(rules, name) for name in ("fence", "opening", "several", "background", "independent")]
    for section, name in (*later, (rules["observation"], "longest")):
        if not section.get(name):
            section.pop(name, None)
    return _digest([prompt.q, _key_part(type(prompt.rules), rules, keys)])[:16]


def fingerprint(tasks: Iterable[Task]) -> str:
    """Hash of a set of tasks, data included."""
    return _digest([[task.id, task.text, task.category, _plain(task)] for task in tasks])[:16]


def _digest(value: Any) -> str:
    """SHA-256, in hexadecimal digits, of canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(task: Task) -> Any:
    try:
        return json.loads(json.dumps(dict(task.data), sort_keys=True))
    except (TypeError, ValueError) as error:
        raise UserError(f"task {task.id}: its data cannot be written as JSON, so it has no identity: {error}") from None


def _decisions(config: Config) -> dict[str, Any]:
    """What of a configuration decides results. Earlier versions knew no shares, watchers and branches: where there are
    none, they are left out.
    """
    decisions = config.model_dump(mode="json", include=deciding(Config))
    if config.child_limits is not None and config.child_limits.share is None:
        del decisions["child_limits"]["share"]
    for name in ("watch", "watchers", "branches"):
        if not decisions[name]:
            del decisions[name]
    return decisions


def _model(plan: Plan) -> dict[str, Any]:
    """The model as the user has named it, independent of the place of its files."""
    named: dict[str, Any] = {"spec": plan.model, "adapters": [path.name for path in plan.config.model.adapters]}
    if plan.specialist:
        named["specialist"] = plan.specialist
    return plan.config.model.model_dump(mode="json", include=deciding(ModelConfig)) | named


def _keyed(plan: Plan) -> dict[str, Any]:
    """The model's part of a key. `kernels` is included only where switched off, so that all other keys stay as they
    always were.
    """
    section = _key_part(ModelConfig, _model(plan), plan.keys)
    if section["kernels"] or plan.keys < 3:
        del section["kernels"]
    return section


def _key_part(section: type[BaseModel], values: Mapping[str, Any], keys: int) -> dict[str, Any]:
    """A section's part of a key."""
    defaults = {
        name: section.model_fields[name].get_default(call_default_factory=True) for name in _LATER & set(values)
    }
    left_out = {name for name, default in defaults.items() if keys == 1 and values[name] == default}
    return {name: value for name, value in values.items() if name not in left_out}


def _generation(fields: Mapping[str, Any]) -> int:
    """The generation of keys of a plan that does not state it."""
    return 2 if "max_reasoning_tokens" in str(fields.get("config")) else 1


def _deciding(part: Part) -> dict[str, Any]:
    """The options of a part that decide results: without paths of data, since the tasks depend on the contents."""
    paths = paths_of(part.environment) if part.options else ()
    return {name: value for name, value in part.options.items() if name not in paths}


def _part_anywhere(part: Part) -> Part:
    """A part with paths that are valid in any working folder."""
    paths = {name: _absolute(value) for name in paths_of(part.environment) if (value := part.options.get(name))}
    return part.model_copy(update={"options": {**part.options, **paths}, **_prompt_anywhere(part)})


def _prompt_anywhere(place: Part | Variant) -> dict[str, Any]:
    return {"prompt": _absolute(place.prompt)} if place.prompt and Path(place.prompt).is_file() else {}


def _absolute(path: str) -> str:
    """The same path from any working folder; `~` is left as it is, since homes differ between machines."""
    return path if str(path).startswith("~") else str(Path(path).absolute())


def _anywhere(spec: ModelSpec) -> str:
    """A model's spec that means the same in any working folder."""
    if spec.inner is not None:
        return f"{spec.kind}:{spec.faults}+{_anywhere(spec.inner)}"
    of_file = bool(spec.rest) and spec.kind in _OF_FILES and spec.hub is None
    return f"{spec.kind}:{at_home(Path(spec.rest)).absolute()}" if of_file else spec.text


def _given(limits: Limits) -> dict[str, Any]:
    return limits.model_dump(exclude_unset=True)


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """The leaves of nested tables and lists, by dotted name."""
    if isinstance(value, Mapping):
        inner = list(cast("Mapping[str, Any]", value).items())
    elif isinstance(value, (list, tuple)):
        inner = [(str(place), each) for place, each in enumerate(cast("Sequence[Any]", value))]
    else:
        return {} if value is None else {name: value}
    flat: dict[str, Any] = {}
    for key, each in inner:
        flat |= _flat(each, f"{name}.{key}" if name else key)
    return flat


def _short(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
