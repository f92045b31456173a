"""A streamed answer as far as it has come: its text, its reasoning, its end and its usage."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, cast

from thread_cli.contracts.model import Usage
from thread_cli.models.openai_ends import End, end_of
from thread_cli.models.openai_usage import Counts, counted
from thread_cli.models.reasoning import Thoughts
from thread_cli.protocols.circles import goes_round
from thread_cli.protocols.text import estimated_tokens, meaning, stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from thread_cli.contracts.model import Request, StopReason
    from thread_cli.protocols.streams import Telling

    Price = Callable[[Usage], float | None]

__all__ = ["Answer"]

_NO_END: Final = ("", "null", "none")
"""Values of `finish_reason` before the answer has ended."""

_REASONING: tuple[str, ...] = ("reasoning_content", "reasoning", "thinking", "reasoning_text", "reasoning_details")


@dataclass(slots=True)
class Answer:
    """The part of an answer to `request` that has come. `thoughts` separates reasoning within the text."""

    request: Request
    text_limit: int | None = None
    """Pieces of text to accept, where the server was not asked for that limit."""
    thought_limit: int | None = None
    """Pieces of reasoning to accept."""
    begun: str = ""
    """The begun answer, in chat: some servers (Mistral's) repeat it before they continue; that is left out."""
    text: str = ""
    separate_reasoning: str = ""
    """Reasoning that came in a separate field."""
    cut: StopReason | None = None
    """The reason for which we stop the answer."""
    finish: str | None = None
    refusal: str = ""
    """The model's refusal, if it came in a separate field."""
    hint: StopReason | None = None
    """The reason for which the server stopped, if it says so."""
    stop_string: str | None = None
    """The stop string that ended the text, where the server or we know it."""
    done: bool = False
    """True once the stream said that it ended."""
    usage: Mapping[str, Any] | None = None
    pieces: int = 0
    thought_pieces: int = 0
    chunks: int = 0
    started: bool = False
    thoughts: Thoughts = field(init=False)
    telling: Telling | None = None
    """Gets the text that has come, piece by piece."""
    _held: str = ""
    """The text so far, while it may be a repetition of the begun answer."""

    def __post_init__(self) -> None:
        self.thoughts = Thoughts(self.request.c)

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Add a chunk of either endpoint, or a complete answer; servers differ in the fields that they leave out."""
        self.chunks += 1
        choices = _objects(chunk.get("choices"))[:1]
        # Groq reports the usage within `x_groq`, Moonshot within the choice.
        for place in (chunk, *_objects([chunk.get("x_groq")]), *choices):
            usage = place.get("usage")
            if isinstance(usage, dict) and any(cast("dict[str, Any]", usage).values()):
                self.usage = cast("dict[str, Any]", usage)
        for choice in choices:
            self._choice(chunk, choice)
        self.tell()

    def tell(self, *, ended: bool = False) -> None:
        """Pass on the text so far, if somebody listens. `ended`: no more will come."""
        if self.telling is not None:
            self.telling.grown(self.text, self.reasoning, self.pieces + self.thought_pieces, ended=ended)

    def finished(self) -> None:
        """Add the text that was held back, at the end of the answer."""
        self.begun, held = "", self._held
        if held:
            self._append(held)
        self.thoughts.finish()
        self._take()

    @property
    def reasoning(self) -> str:
        """All reasoning."""
        return self.separate_reasoning + self.thoughts.reasoning

    @property
    def end(self) -> End | None:
        """The end of the answer; None before it."""
        if self.cut is not None:
            return End.length if self.cut == "length" else End.stop
        if self.finish is not None:
            return end_of(self.finish)
        return End.stop if self.done and self.chunks else None

    @property
    def reason(self) -> StopReason:
        """The reason for which a text ended normally."""
        if self.cut is not None:
            return self.cut
        return "length" if self.end is End.length else self.hint or "stop"

    def counted(self, price: Price | None) -> Usage:
        """The usage: as the server reports it, else one token for each piece."""
        reported = None if self.usage is None else counted(self.usage)
        if isinstance(reported, Counts) and (reported.generated or not self.pieces):
            reasoning = reported.reasoning or (self._share(reported) if self.thought_pieces else 0)
            usage = Usage(
                reported.prompt,
                reported.cached,
                reported.generated,
                reasoning=reasoning,
                note=reported.note,
                cached_known=reported.cached_known,
            )
            return usage if price is None else replace(usage, cost=price(usage))
        note = f"{reported}: unknown" if isinstance(reported, str) else ""
        return Usage(
            generated=self.pieces + self.thought_pieces,
            reasoning=self.thought_pieces,
            note=note,
            estimated=True,
            cached_known=False,
        )

    def lost(self, price: Price | None) -> Usage | None:
        """The usage of an answer that broke off; the prompt's tokens are estimated where the server reported none."""
        usage = self.counted(price)
        if not self.started or not (usage.generated or usage.prompt):
            return None
        if usage.prompt:
            return usage
        estimate = Usage(
            estimated_tokens(self.request.prompt),
            generated=usage.generated,
            reasoning=usage.reasoning,
            note="the tokens of an answer that broke off are estimated",
            estimated=True,
            cached_known=False,
        )
        return estimate if price is None else replace(estimate, cost=price(estimate))

    def _share(self, reported: Counts) -> int:
        """Tokens of reasoning that the server did not count separately, estimated by its share of the pieces."""
        return round(reported.generated * self.thought_pieces / (self.thought_pieces + self.pieces))

    def _choice(self, chunk: Mapping[str, Any], choice: Mapping[str, Any]) -> None:
        # The last piece of a stream may hold the whole message once more, beside an empty delta.
        part: Any = choice["delta"] if isinstance(choice.get("delta"), dict) else choice.get("message")
        source = cast("dict[str, Any]", part) if isinstance(part, dict) else choice
        text = source.get("content") if source is not choice else choice.get("text")
        thought = next((found for name in _REASONING if (found := _plain(source.get(name)))), "")
        if isinstance(text, list):
            inner = cast("list[Any]", text)
            thought = thought or "".join(_plain(item) for item in inner if not _is_text(item))
            text = "".join(_plain(item) for item in inner if _is_text(item))
        if thought and self.cut is None:
            self._think(thought)
        if isinstance(text, str) and text and (new := self._new(text)):
            self._append(new)
        self.refusal += _plain(source.get("refusal"))
        finish = str(choice.get("finish_reason") or "")
        if finish.lower() not in _NO_END:
            self.finish = finish
            extra = {**chunk, **choice}
            verbose = extra.get("__verbose")
            fields = {**(cast("dict[str, Any]", verbose) if isinstance(verbose, dict) else {}), **extra}
            self.hint, string = _stop_hint(fields, self.request.stop)
            self.stop_string = self.stop_string or string

    def _think(self, thought: str) -> None:
        self.thought_pieces += 1
        self.separate_reasoning += thought
        self._limit()

    def _new(self, piece: str) -> str:
        """The new text, without the server's repetition of the begun answer."""
        if not self.begun:
            return piece
        self._held += piece
        if len(self._held) < len(self.begun) and self.begun.startswith(self._held):
            return ""
        new, self.begun, self._held = self._held.removeprefix(self.begun), "", ""
        return new

    def _append(self, piece: str) -> None:
        if self.cut is not None:
            self.pieces += 1
            return
        inside = self.thoughts.inside
        self.thoughts.add(piece)
        thought = bool(inside and self.thoughts.inside)
        self.pieces, self.thought_pieces = self.pieces + (not thought), self.thought_pieces + thought
        self._take()
        self._limit()

    def _take(self) -> None:
        """Add the certain part of the text, up to a stop string, which may have begun in earlier pieces."""
        if self.cut is not None:
            return
        text, stop = self.thoughts.text, self.request.stop
        start = max(0, len(self.text) - max(map(len, stop), default=1) + 1)
        if not text.startswith(self.text):
            # A closing tag without an opening one means that all text before it was reasoning.
            start, self.pieces, self.thought_pieces = 0, 0, self.thought_pieces + self.pieces
        found = stopped(text[start:], stop)
        self.text = text
        if found is not None:
            self.text, self.stop_string = text[:start] + found[0], found[1]
            self.cut = meaning(self.stop_string, stop)

    def _limit(self) -> None:
        """Stop the text where it is too long or goes round in circles, and reasoning where its budget is spent."""
        if self.cut is not None:
            return
        long = self.text_limit is not None and self.pieces >= self.text_limit
        thought = self.thought_limit is not None and self.thought_pieces > self.thought_limit
        together = self.request.max_together
        full = together is not None and self.pieces + self.thought_pieces >= together
        if long or thought or full or (self.request.until_circles and goes_round(self.text)):
            self.cut = "length"


def _objects(values: Any) -> list[dict[str, Any]]:
    """The members of a list that are objects."""
    members = cast("list[Any]", values) if isinstance(values, list) else []
    return [cast("dict[str, Any]", each) for each in members if isinstance(each, dict)]


def _plain(value: Any) -> str:
    """The text in a field that is a text, or a list or an object that holds some."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(_plain, cast("list[Any]", value)))
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return next(
            (text for name in ("text", "thinking", "summary", "content") if (text := _plain(fields.get(name)))), ""
        )
    return ""


def _is_text(item: Any) -> bool:
    kind = cast("dict[str, Any]", item).get("type") if isinstance(item, dict) else "text"
    return kind in (None, "text", "output_text")


def _stop_hint(extra: Mapping[str, Any], stop: tuple[str, ...]) -> tuple[StopReason | None, str | None]:
    """The reason for stopping and the stop string, from the server's own extension (vLLM, SGLang, llama.cpp); None for
    what it does not say.
    """
    for name in ("stop_reason", "matched_stop", "stopping_word"):
        word = extra.get(name)
        if isinstance(word, str) and word in stop:
            return meaning(word, stop), word
        if isinstance(word, int):  # the id of a token that ends a text
            return "end", None
    if extra.get("stop_type") == "eos" or ("stop_reason" in extra and extra["stop_reason"] is None):
        return "end", None
    return None, None
