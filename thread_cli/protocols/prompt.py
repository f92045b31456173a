"""Few-shot prompts: reads q and its rules from a file.

A file of ours begins with front matter, TOML between two lines `+++`, and goes on as a Jinja template of q. A file
without front matter is taken as it is, as the published THREAD prompts are: the token pair is read off the text, all
other rules are those that the environment states for such prompts.
"""

from __future__ import annotations

import importlib.resources
import re
import tomllib
from dataclasses import dataclass
from importlib.metadata import entry_points
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

import jinja2
from jinja2.sandbox import SandboxedEnvironment
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from thread_cli.contracts.errors import UserError
from thread_cli.contracts.protocol import Orphans
from thread_cli.protocols.code import parse
from thread_cli.protocols.context import phi, psi
from thread_cli.protocols.formats import FORMATS
from thread_cli.protocols.thread import CLOSE, LISTEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

    from thread_cli.contracts.protocol import Protocol
    from thread_cli.protocols.formats import Dialect, Format

__all__ = ["ObservationRules", "Prompt", "Rules", "divided", "format_of", "installed", "load", "named"]

_PACKAGE: Final = "thread_prompts"
_GROUP: Final = "thread_cli.prompts"
"""Entry points: a folder of prompts, as a package, under the name of the environment that they are for."""
_FENCE: Final = "+++\n"
_LATER: Final = {name: f"\ue000parallel.{name}\ue000" for name in ("width", "profile")}
"""Stand-ins for facts about a model that are known once it is loaded."""
_json_adapter: Final = TypeAdapter(dict[str, str])
_TOKENS: Final = (("#START#", "#END#"), ("[START]", "[END]"))


def _patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return patterns


def _python(code: str) -> str:
    try:
        parse(code)
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno} is no Python: {error.msg}") from None
    return code


def _fence(fence: str) -> str:
    if fence != fence.strip() or "\n" in fence or LISTEN in fence or fence.startswith((CLOSE, ">")):
        raise ValueError(
            f"{fence!r} cannot fence an action: no line begins with it, or such a line has another meaning"
        )
    return fence


def _opening(text: str) -> str:
    if text and text.count("{context}") != 1:
        raise ValueError("it has to hold {context} once, where the task stands")
    return text


def _mark(mark: str) -> str:
    plain = mark.strip() and mark == mark.lstrip() and "\n" not in mark
    if mark and (not plain or mark.startswith((CLOSE, ">", "#")) or LISTEN in mark):
        raise ValueError(f"{mark!r} cannot begin the lines of a list: no line does, or such a line has another meaning")
    return mark


class ObservationRules(BaseModel):
    """How an observation becomes text of the thread."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: bool = True
    """Whether a variable's value in the text is replaced by `{name}`."""
    full_stop: bool = False
    """Whether a full stop is added where the text ends without one."""
    drop: Annotated[tuple[str, ...], AfterValidator(_patterns)] = ()
    """Regular expressions; their matches are left out."""
    comment: str = ""
    """Prefix of each line of an observation of several lines."""
    longest: int = Field(default=0, ge=0)
    """Characters of the longest observation that is read whole: of a longer one the middle is left out. 0: no limit."""


class Rules(BaseModel):
    """The keys of a prompt's front matter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = ""
    default: bool = False
    """Whether the environment uses this prompt where none is named."""
    category: str = ""
    """The category of tasks for which this prompt is used where none is named, before the default."""
    model: str = ""
    """The spec of the model for which this prompt is used where none is named, before those of category and default."""
    max_parameters: int = Field(default=0, ge=0)
    """The largest model, in parameters, for which this prompt is used where none is named, before those of category and
    default; 0 for none. Only models with files at hand (`llama:…`) are counted.
    """
    protocol: str = "thread"
    """The wire format that the prompt is written in, with its options: `thread`, `weaver`, `weaver:paper`."""
    opening: Annotated[str, AfterValidator(_opening)] = ""
    """Text between q and Y in a fork-join format, with `{context}` in it; empty: as the examples of our prompts are."""
    start: str = Field(default="#START#", min_length=1)
    end: str = Field(default="#END#", min_length=1)
    phi: str = "last_line"
    psi: str = "printed"
    actions: Literal["environment", "code"] = "environment"
    """What an action is: something for the environment, or Python whose print is the observation (data analysis)."""
    fence: Annotated[str, AfterValidator(_fence)] = ""
    """Text around an action of several lines, such as three backticks; the action is carried out as it is written."""
    several: Annotated[str, AfterValidator(_mark)] = ""
    """How each line of a list begins, such as `- `: the lines right above the listen token that begin so spawn a child
    each, and the thread waits for all of them. Empty: a line that listens spawns one child."""
    background: Annotated[str, AfterValidator(_mark)] = ""
    """How a line begins, such as `& `, that spawns a child in the background; several lines are a list. Lines such as
    `await 0 2`, `await any` and `await all` wait for these children. Empty: the thread waits for each child."""
    independent: bool = False
    """Whether a line such as `age = Second, how old is she` spawns a child beside which the thread goes on: it reads
    `{age}` at once, and waits for the child where it needs the variable. The prompt promises that such children read
    no variable that one before them binds, and act on nothing that one before them changes."""
    blank_line: bool = True
    """Whether an empty line follows each feedback."""
    code_errors: Literal["show", "hide"] = "show"
    """`show`: an error of the thread's code is the feedback of the line that listens next, which is not carried out.
    `hide`: it is only recorded, as in the paper."""
    setup: Annotated[str, AfterValidator(_python)] = ""
    """Python that runs before the main thread begins; it finds `task`, and all threads know what it binds."""
    chat: Literal["text", "turns"] = "text"
    """What a server that knows chat alone is told: a text to be continued, or a conversation with its examples."""
    orphans: Orphans = Orphans.awaited
    """What becomes of children that are alive when their parent returns: `awaited`, `detached` or `stopped`."""
    observation: ObservationRules = Field(default_factory=ObservationRules)

    @property
    def comment(self) -> str:
        """Prefix of each line of an observation of several lines."""
        return self.observation.comment

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        marks = [mark for mark in (self.several, self.background, self.fence) if mark]
        for mark, other in permutations(marks, 2):
            if mark.startswith(other):
                raise ValueError(f"{mark!r} begins with {other!r}: lines of two kinds cannot be told apart")
        if self.independent and self.phi.startswith("whole_sequence"):
            raise ValueError(
                "independent threads are given a line: whole_sequence would give them names without values"
            )
        if self.background and "await".startswith(self.background.rstrip()):
            raise ValueError(
                f"{self.background!r} begins the lines that await: lines of two kinds cannot be told apart"
            )
        return self


@dataclass(frozen=True, slots=True)
class Prompt:
    """A few-shot prompt q and its rules."""

    name: str
    q: str
    rules: Rules

    @property
    def asks_for_width(self) -> bool:
        """Whether its text says how many threads pay at once, or how fast they are."""
        return _LATER["width"] in self.q or _LATER["profile"] in self.q

    def at_width(self, width: int | None, speeds: Mapping[int, float]) -> Prompt:
        """The prompt with the width and the speeds of a model: tokens per second by the number of threads at once."""
        each = [f"{number}: {speed:.3g} tokens per second" for number, speed in sorted(speeds.items())]
        q = self.q.replace(_LATER["width"], "any number" if width is None else str(width))
        return Prompt(self.name, q.replace(_LATER["profile"], ", ".join(each) or "not measured"), self.rules)

    def protocol(self) -> Protocol:
        """The wire format that the prompt is written in."""
        return format_of(self.rules.protocol, self.rules)


def format_of(spec: str, dialect: Dialect) -> Protocol:
    """The wire format that `spec` names, with its options and the prompt's rules; raises as `named` does."""
    found, options = named(spec)
    return found.make(dialect, options)


def divided(spec: str) -> tuple[str, list[tuple[str, str, str]]]:
    """The name in a spec such as `apr:calls=3`, and its options, each as word, equals sign and value."""
    name, _, written = spec.partition(":")
    return name, [part.strip().partition("=") for part in written.split(",") if part.strip()]


def named(spec: str) -> tuple[Format, dict[str, str]]:
    """What `spec` names, and its options: values by word, empty for a word alone.

    A spec is a name, with options after a colon where the format takes any: `weaver:paper`. An option is a word, or a
    word with a value, `calls=3`; several are separated by commas.

    Raises:
        UserError: there is no format of that name, or it does not take these options.
    """
    name, parts = divided(spec)
    if name not in FORMATS:
        raise UserError(f"no protocol is called {name!r}; there are {', '.join(FORMATS)}")
    found: Format = FORMATS[name].load()
    options = {word: value for word, _, value in parts}
    words = [word for word, _, _ in parts]
    if unknown := sorted(options.keys() - found.options.keys()):
        raise UserError(
            f"the protocol {name!r} takes no option {unknown[0]!r}; it takes {', '.join(found.options) or 'none'}"
        )
    for word, equals, _ in parts:
        if words.count(word) > 1:
            raise UserError(f"the option {word!r} of the protocol {name!r} is named more than once")
        if equals and word not in found.valued:
            raise UserError(f"the option {word!r} of the protocol {name!r} takes no value: write {word} alone")
    return found, options


def load(
    spec: str | None,
    environment: str,
    *,
    category: str = "",
    model: str = "",
    parameters: int | None = None,
    plain_rules: Mapping[str, Any] | None = None,
    override: Mapping[str, Any] | None = None,
) -> Prompt:
    """The prompt that `spec` names: a file's path, the name of an installed prompt of the environment, or None for the
    environment's own: the model's, else that for models of so few `parameters` where these are known, else the
    category's, else the default. `plain_rules` stand in for missing front matter, in THREAD's format; `override` wins
    over both.

    Raises:
        UserError: there is no such prompt, or it cannot be read.
    """
    name, text = _read(spec, environment, category, model, parameters)
    front, body = _parts(name, text)
    plain = front is None
    led = {key: value for key, value in (override or {}).items() if value is not None}
    wanted = led.get("protocol") or (front or {}).get("protocol", "thread")
    stated = dict(named(wanted)[0].rules) if isinstance(wanted, str) else {}
    if front is not None:
        stated |= front
    elif not stated:
        stated = {**_plain_rules(body), **(plain_rules or {})}
    try:
        rules = Rules.model_validate(stated | led)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "rules"
        raise UserError(f"prompt {name}: {where}: {first['msg']}") from None
    phi(rules.phi)
    psi(rules.psi)
    format_of(rules.protocol, rules)
    if rules.opening and rules.protocol == "thread":
        raise UserError(f"prompt {name}: an opening is of fork-join protocols, and not of 'thread'")
    if rules.chat == "turns" and rules.protocol != "thread":
        raise UserError(f"prompt {name}: conversations (chat = 'turns') are of the protocol 'thread' alone")
    return Prompt(name, (body if plain else _rendered(name, body, rules, environment, category)).rstrip("\n"), rules)


def installed(environment: str) -> Iterator[tuple[str, Rules]]:
    """Name and rules of each installed prompt for an environment, by name."""
    for name, front in _fronts(environment):
        yield name, Rules.model_validate({**named(front.get("protocol", "thread"))[0].rules, **front})


def _fronts(environment: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and front matter of each installed prompt for an environment, by name; nothing in it is checked."""
    folder = _folder(environment)
    if folder is None:
        return
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".jinja"):
            front, _ = _parts(file.name, file.read_text("utf-8"))
            yield file.name.removesuffix(".jinja"), front or {}


def _folder(environment: str) -> Traversable | None:
    folder = importlib.resources.files(_PACKAGE).joinpath(environment)
    if folder.is_dir():
        return folder
    for point in entry_points(group=_GROUP, name=environment):
        try:
            return importlib.resources.files(point.value)
        except ImportError as error:
            raise UserError(f"the prompts of {environment} ({point.value}) cannot be found: {error}") from None
    return None


def _read(spec: str | None, environment: str, category: str, model: str, parameters: int | None) -> tuple[str, str]:
    known = dict(_fronts(environment))
    names = [name for name in known if name == spec]
    if spec is None:
        trained = [name for name, front in known.items() if model and front.get("model") == model]
        small = [name for name, front in known.items() if parameters and parameters <= front.get("max_parameters", 0)]
        fitting = [name for name, front in known.items() if category and front.get("category") == category]
        names = trained or small or fitting or [name for name, front in known.items() if front.get("default")]
    folder = _folder(environment)
    if names and folder is not None:
        return f"{environment}/{names[0]}", folder.joinpath(f"{names[0]}.jinja").read_text("utf-8")
    if spec is None:
        raise UserError(f"there is no prompt for {environment} yet: give one with --prompt FILE")
    try:
        text = Path(spec).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"prompt {spec}: {reason}; installed for {environment}: {', '.join(known) or 'none'}") from None
    return (spec, _of_several(spec, text, category)) if spec.endswith(".json") else (spec, text)


def _of_several(spec: str, text: str, category: str) -> str:
    """A prompt out of a JSON object of several, as published for ALFWorld: `{"thread_clean": "Prompt:…", …}`."""
    try:
        prompts = _json_adapter.validate_json(text)
    except ValidationError:
        raise UserError(f"prompt {spec}: a JSON file holds an object of prompts, each a text by its name") from None
    # The published file calls `pick_two` what the paper's table calls `pick2`.
    fitting = [key for key in prompts if category and key.replace("_two", "2").rpartition("_")[2] == category]
    if len(prompts) != 1 and len(fitting) != 1:
        raise UserError(f"prompt {spec} holds {', '.join(prompts) or 'nothing'}: none is for the category {category!r}")
    return prompts[fitting[0] if fitting else next(iter(prompts))]


def _parts(name: str, text: str) -> tuple[dict[str, Any] | None, str]:
    if not text.startswith(_FENCE):
        return None, text
    front, fence, body = text.removeprefix(_FENCE.rstrip()).partition(f"\n{_FENCE}")
    if not fence:
        raise UserError(f"prompt {name}: the front matter has no closing line +++")
    try:
        return tomllib.loads(front), body
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"prompt {name}: front matter: {error}") from None


def _plain_rules(text: str) -> dict[str, Any]:
    start, end = max(_TOKENS, key=lambda pair: text.count(pair[0]))
    return {"start": start, "end": end, "code_errors": "hide"}


def _rendered(name: str, body: str, rules: Rules, environment: str, category: str) -> str:
    jinja = SandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True)
    jinja.loader = jinja2.PackageLoader(_PACKAGE, "")
    try:
        return jinja.from_string(body).render(
            start=rules.start,
            end=rules.end,
            listen=LISTEN,
            close=CLOSE,
            environment=environment,
            category=category,
            parallel=_LATER,
        )
    except jinja2.TemplateNotFound as error:
        raise UserError(f"prompt {name}: there is no template {error} to include") from None
    except Exception as error:  # noqa: BLE001 - whatever a template runs into is a fault of the template
        raise UserError(f"prompt {name}: {type(error).__name__}: {error}") from None
