"""A model that fails on purpose, to test that callers survive its faults.

Faults depend on the seed, the request and the number of the try alone: the order in which concurrent calls happen to
run does not change which of them fail.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from thread_cli.contracts.errors import UserError
from thread_cli.contracts.model import Completion, Model, Opens, Request, StopReason, Usage
from thread_cli.models.retry import Transient, current_attempt
from thread_cli.protocols.streams import asked, poured
from thread_cli.protocols.text import cut_at_stop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from thread_cli.contracts.model import Piece

__all__ = ["Faults", "FaultyModel", "parse_spec"]

_FIELDS = {
    "429": "rate_limit",
    "500": "server",
    "timeout": "timeout",
    "cut": "cut",
    "garbage": "garbage",
    "seed": "seed",
    "retry_after": "retry_after",
}

_JUNK = (
    "\x1b[2J\x1b[1;1H\x1b[31m",
    "\x1b]0;title\x07",
    "\x00\x08\x7f\x9b1m",
    "\u202egnirts\u2066",
    "{{%}}{0.__class__.__mro__}",
    "{", "}", "{}", "{x!r:>{y}}",
    "[bold red]not markup[/nothing]",
    "<script>alert(1)</script>",
    "__import__('os').system('touch stolen')",
    "\nx = 'a' * 10 ** 10\n",
    "\nwhile True: pass\n",
    "\nprint('unclosed\n",
    "\n    def f(:\n",
    "\n> ",
    "\n=",
    "#EN",
    "<|im_sta",
    "\ufffd\ufffd",
    "```",
    "\r\r\n\u2028",
    " ",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Faults:
    """Share of calls that get each fault. `retry_after`: seconds that an injected 429 or 500 asks to wait."""

    rate_limit: float = 0.0
    server: float = 0.0
    timeout: float = 0.0
    cut: float = 0.0
    garbage: float = 0.0
    seed: int = 0
    retry_after: float | None = None


def parse_spec(spec: str) -> Faults:
    """Faults from text like `429=0.1,500=0.05,cut=0.05,seed=7`.

    Raises:
        UserError: an unknown name, a value that is no number, or rates that do not lie between 0 and 1 in all.
    """
    values: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in spec.split(","))):
        name, _, text = (side.strip() for side in item.partition("="))
        if name not in _FIELDS:
            raise UserError(f"faulty: unknown fault {name!r} in {spec!r}; known are {', '.join(_FIELDS)}")
        if name in values:
            raise UserError(f"faulty: {name} is given twice in {spec!r}")
        try:
            values[name] = int(text) if name == "seed" else float(text)
        except ValueError:
            kind = "a whole number" if name == "seed" else "a number"
            raise UserError(f"faulty: {name} needs {kind}, as in {name}=0, not {text!r}") from None
    pause = values.pop("retry_after", None)
    chosen_seed = int(values.pop("seed", 0))
    if pause is not None and not 0 <= pause < float("inf"):
        raise UserError(f"faulty: retry_after is a time in seconds, not {pause}")
    if not all(0 <= rate <= 1 for rate in values.values()) or sum(values.values()) > 1 + 1e-9:
        raise UserError(f"faulty: the rates in {spec!r} must lie between 0 and 1 and add up to at most 1")
    return Faults(seed=chosen_seed, retry_after=pause, **{_FIELDS[name]: rate for name, rate in values.items()})


class FaultyModel:
    """`inner`, with the faults of `spec` injected. Put `Retrying` around it, as around a real backend."""

    def __init__(self, inner: Model, spec: str | Faults) -> None:
        self.inner = inner
        self.faults = spec if isinstance(spec, Faults) else parse_spec(spec)

    def stream(self, request: Request) -> AsyncGenerator[Piece | Completion]:
        """Continue the request's prompt, or fail as `complete` does."""
        return poured(lambda tell: self._call(request, tell))

    async def complete(self, request: Request) -> Completion:
        """Continue the request's prompt, or fail.

        Raises:
            Transient: an injected fault, or one of the inner model's own.
            ModelError: the inner model failed for good.
        """
        return await self._call(request)

    async def _call(self, request: Request, tell: Callable[[Piece], None] | None = None) -> Completion:
        faults = self.faults
        chance = _chance(faults.seed, request, current_attempt())
        fault = chance.choices(
            ("rate_limit", "server", "timeout", "cut", "garbage", None),
            (
                faults.rate_limit,
                faults.server,
                faults.timeout,
                faults.cut,
                faults.garbage,
                max(0.0, 1 - _total(faults)),
            ),
        )[0]
        match fault:
            case "rate_limit":
                raise Transient("rate_limit", "injected fault: HTTP 429, too many requests", faults.retry_after)
            case "server":
                raise Transient("server", "injected fault: HTTP 500, internal server error", faults.retry_after)
            case "timeout":
                raise Transient("timeout", "injected fault: the call timed out")
            case "garbage":
                return _garbage(request, chance)
            case "cut":
                written = await asked(self.inner, request, tell)
                if written.stop == "cut":
                    return written
                raise Transient("cut_stream", "injected fault: the stream broke off")
            case _:
                return await asked(self.inner, request, tell)

    async def open(self) -> None:
        """Load the inner model, if it can be loaded ahead."""
        if isinstance(self.inner, Opens):
            await self.inner.open()

    async def close(self) -> None:
        await self.inner.close()


def _total(faults: Faults) -> float:
    return faults.rate_limit + faults.server + faults.timeout + faults.cut + faults.garbage


def _chance(seed: int, request: Request, attempt: int) -> random.Random:
    asked = (seed, attempt, request.prompt, request.stop, request.max_tokens, request.temperature, request.seed)
    digest = hashlib.blake2b(repr(asked).encode(), digest_size=16).digest()
    return random.Random(int.from_bytes(digest, "big"))


def _garbage(request: Request, chance: random.Random) -> Completion:
    reasons: tuple[StopReason, ...] = ("listen", "end", "stop", "length")
    pieces = chance.choices(_JUNK, k=chance.randint(1, max(1, min(12, request.max_tokens))))
    text, reason = "".join(pieces), chance.choice(reasons)
    cut = cut_at_stop(text, request.stop)
    if cut is not None:
        text, reason = cut
    return Completion(text, reason, Usage(generated=len(pieces), estimated=True, cached_known=False))
