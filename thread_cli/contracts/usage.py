"""What calls of a model cost: tokens, money, and the work of a model on this machine."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

from pydantic import AliasChoices, Field

__all__ = ["Local", "Usage"]


@dataclass(frozen=True, slots=True)
class Local:
    """The share that one call, or several, had in the steps of a model on this machine.

    A step is one batch through the model, shared by all calls under way. Its time is divided among them by their tokens
    in it, so that the seconds of all calls add up to the seconds of the machine. Logs of earlier versions
    name some of the fields otherwise; these names are read too.
    """

    drafted: int = 0
    """Tokens drafted for it."""
    accepted: int = 0
    """Accepted tokens: drafted tokens that were drawn, and so needed no step of their own."""
    steps: int = 0
    """Decode steps: steps in which a token was drawn for it."""
    batch_sizes: Annotated[int, Field(validation_alias=AliasChoices("batch_sizes", "company"))] = 0
    """Sum of the batch sizes of its decode steps; divided by `steps`, the mean batch size."""
    prefill_seconds: Annotated[float, Field(validation_alias=AliasChoices("prefill_seconds", "reading"))] = 0.0
    """Seconds of prefill: the time of its prompt tokens in these steps."""
    decode_seconds: Annotated[float, Field(validation_alias=AliasChoices("decode_seconds", "writing"))] = 0.0
    """Seconds of decode: the time of its generated and drafted tokens in these steps."""
    prefill_floor: Annotated[float, Field(validation_alias=AliasChoices("prefill_floor", "least_reading"))] = 0.0
    """`prefill_seconds` at the speeds with an empty cache, measured when the model was loaded."""
    decode_floor: Annotated[float, Field(validation_alias=AliasChoices("decode_floor", "least_writing"))] = 0.0
    """`decode_seconds` at these speeds."""

    def __add__(self, other: Local) -> Local:
        return Local(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call.

    `prompt` counts all prompt tokens, `cached` the prompt tokens that a cache spared, `repeated` the tokens that the
    backend had to evaluate a second time, `generated` the new tokens. `cost` is in US dollars, None if unknown. Where
    the backend does not know the number of prompt tokens, `prompt` is 0, and records and limits use an estimate. Where
    `generated` is 0 as well, no model was asked: a method wrote the text itself.
    """

    prompt: int = 0
    cached: int = 0
    generated: int = 0
    repeated: int = 0
    cost: float | None = None
    local: Local | None = None
    """For a model on this machine."""
    reasoning: int = 0
    """The generated tokens that were reasoning."""
    note: str = ""
    """The reading of a server's contradictory numbers, or the reason for which they are unknown."""
    estimated: bool = False
    """Whether the counts are estimates."""
    cached_known: bool = True
    """Whether the backend reports cached tokens; `cached` is 0 if it does not."""

    def and_earlier(self, earlier: Usage | None) -> Usage:
        """The sum of this usage and the usage of earlier calls, or of earlier tries whose answers were lost, if any.

        Where this usage does not know its prompt, neither does the sum.
        """
        if earlier is None:
            return self
        known = bool(self.prompt)
        return Usage(
            prompt=self.prompt + earlier.prompt if known else 0,
            cached=self.cached + earlier.cached if known else 0,
            generated=self.generated + earlier.generated,
            repeated=self.repeated + earlier.repeated,
            cost=None if self.cost is None or earlier.cost is None else self.cost + earlier.cost,
            local=self.local + earlier.local if self.local and earlier.local else self.local or earlier.local,
            reasoning=self.reasoning + earlier.reasoning,
            note="; ".join(dict.fromkeys(filter(None, (self.note, earlier.note)))),
            estimated=self.estimated or earlier.estimated,
            cached_known=self.cached_known and earlier.cached_known,
        )
