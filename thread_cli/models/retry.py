"""Repeats failed model calls, and gives them up.

A backend raises `Transient` for failures that may pass (rate limits, server faults, lost connections) and `ModelError`
for all others. `Retrying` stands in front of a backend, repeats transient failures with growing, jittered pauses, and
turns the last of them into a `ModelError`.
"""

from __future__ import annotations

import asyncio
import random
from contextvars import ContextVar
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Literal

import stamina
from stamina.instrumentation import RetryDetails, RetryHook, get_on_retry_hooks, set_on_retry_hooks

from thread_cli.contracts.errors import ModelError
from thread_cli.contracts.model import Completion, Opens, Profile, Profiled
from thread_cli.protocols.streams import again, asked, poured

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from thread_cli.contracts.model import Model, Piece, Request, Usage
    from thread_cli.models.limiter import Limiter

    Tell = Callable[[Piece], None]

__all__ = ["LONGEST_RETRY_AFTER", "Fault", "Retrying", "Transient", "current_attempt"]

Fault = Literal["rate_limit", "server", "timeout", "connection", "cut_stream", "abnormal_end", "interrupted"]
"""Kinds of faults for which a call is repeated."""

LONGEST_RETRY_AFTER = 600.0
"""Seconds. A server that asks for a longer pause is not waited for: the call fails at once."""

_attempt: ContextVar[int] = ContextVar("thread_cli_attempt", default=1)


class Transient(Exception):
    """A call failed in a way that another try may not.

    `retry_after`: seconds that the server asked to wait. `usage`: that of the lost answer, if one had begun.
    """

    def __init__(self, kind: Fault, message: str, retry_after: float | None = None, usage: Usage | None = None) -> None:
        super().__init__(message)
        self.kind: Fault = kind
        self.message = message
        self.retry_after = retry_after
        self.usage = usage


def current_attempt() -> int:
    """The number of the present try of a call, from 1. Always 1 outside `Retrying`."""
    return _attempt.get()


def _silent(hook: RetryHook) -> RetryHook:
    def on_retry(details: RetryDetails) -> object:
        return None if isinstance(details.caused_by, Transient) else hook(details)

    return on_retry  # pyright: ignore[reportReturnType]


# stamina's hooks are global, and by default they log to the terminal, in the middle of a live display. Our retries are
# counted in `Completion`; those of other users of the package stay as they were.
set_on_retry_hooks([_silent(hook) for hook in get_on_retry_hooks()])


@dataclass(slots=True)
class _Account:
    """Spent by a call's tries so far: seconds, and the tokens of answers that were lost."""

    working: float = 0.0
    lost: Usage | None = None
    passed_on: bool = False
    """Whether pieces of an answer were passed on; that answer is lost if its try fails."""

    def telling(self, tell: Tell) -> Tell:
        """A function that passes on the pieces of one more try."""
        tell = again(tell) if self.passed_on else tell

        def pass_on(piece: Piece) -> None:
            self.passed_on = True
            tell(piece)

        return pass_on

    def lose(self, usage: Usage | None) -> None:
        if usage is not None:
            self.lost = usage if self.lost is None else self.lost.and_earlier(usage)


class Retrying:
    """A model that repeats the transient failures of another.

    Pauses double from `wait_initial` up to `wait_max` seconds, plus a jitter of up to `wait_initial`. Where the server
    named a pause, that takes the place of `wait_initial`, and no pause is shorter. Every try starts the call anew; the
    tokens of answers that were lost are part of the usage. With a `limiter`, a permit is held during each try and never
    during a pause.
    """

    def __init__(
        self,
        model: Model,
        *,
        attempts: int = 6,
        wait_initial: float = 0.5,
        wait_max: float = 30.0,
        limiter: Limiter | None = None,
    ) -> None:
        self.model = model
        self.attempts = attempts
        self.wait_initial = wait_initial
        self.wait_max = wait_max
        self.limiter = limiter

    def stream(self, request: Request) -> AsyncGenerator[Piece | Completion]:
        """Continue the request's prompt as `complete` does; each try begins the text anew."""
        return poured(lambda tell: self._call(request, tell))

    async def complete(self, request: Request) -> Completion:
        """Continue the request's prompt. `waited` and `retries` of the completion count this call's own.

        Raises:
            ModelError: the last try failed too, or the server asked for a pause longer than `LONGEST_RETRY_AFTER`.
        """
        return await self._call(request)

    async def _call(self, request: Request, tell: Tell | None = None) -> Completion:
        began = monotonic()
        account = _Account()
        tries = 0
        try:
            async for attempt in stamina.retry_context(
                on=self._pauses(),
                attempts=self.attempts,
                timeout=None,
                wait_initial=self.wait_initial,
                wait_max=self.wait_max,
                wait_jitter=self.wait_initial,
            ):
                with attempt:
                    tries = attempt.num
                    completion = await self._once(request, tries, account, tell)
                    usage = completion.usage
                    return replace(
                        completion,
                        usage=usage.and_earlier(account.lost),
                        waited=completion.waited + monotonic() - began - account.working,
                        retries=completion.retries + tries - 1,
                    )
        except Transient as transient:
            failure = self._given_up(transient, tries)
            failure.usage = account.lost
        except asyncio.CancelledError:
            if tell is None or account.lost is None:
                raise
            waited = monotonic() - began - account.working
            return Completion("", "cut", account.lost, waited=waited, retries=max(0, tries - 1))
        else:  # pragma: no cover (the loop above returns or raises)
            raise AssertionError
        raise failure

    async def open(self) -> None:
        """Load the inner model, if it can be loaded ahead."""
        if isinstance(self.model, Opens):
            await self.model.open()

    async def profile(self) -> Profile:
        """What the inner model can do, and no more calls than its endpoint's limit lets through now."""
        limit = self.limiter and max(1, int(self.limiter.limit) - self.limiter.in_flight)
        if not isinstance(self.model, Profiled):
            return Profile(limit or 1)
        profile = await self.model.profile()
        return profile if limit is None else replace(profile, free=min(profile.free, limit))

    async def close(self) -> None:
        await self.model.close()

    async def _once(self, request: Request, attempt: int, account: _Account, tell: Tell | None) -> Completion:
        if self.limiter is None:
            return await self._timed(request, attempt, account, tell)
        async with self.limiter.permit() as permit:
            try:
                completion = await self._timed(request, attempt, account, tell)
            except Transient as transient:
                if transient.kind in ("rate_limit", "interrupted"):
                    permit.rate_limited()
                elif transient.kind in ("server", "timeout", "abnormal_end"):
                    permit.struggled()
                if transient.retry_after and transient.retry_after <= LONGEST_RETRY_AFTER:
                    self.limiter.hold(transient.retry_after)
                raise
            if completion.stop != "cut":
                permit.succeeded()
            return completion

    async def _timed(self, request: Request, attempt: int, account: _Account, tell: Tell | None) -> Completion:
        token = _attempt.set(attempt)
        began = monotonic()
        try:
            return await asked(self.model, request, tell and account.telling(tell))
        except Transient as transient:
            account.lose(transient.usage)
            raise
        finally:
            account.working += monotonic() - began
            _attempt.reset(token)

    def _pauses(self) -> Callable[[Exception], bool | float]:
        """A stamina hook for one call: False for failures that are not repeated, else the pause in seconds, or True."""
        asked = 0

        def pause(error: Exception) -> bool | float:
            nonlocal asked
            if not isinstance(error, Transient):
                return False
            if not error.retry_after:
                return True
            if error.retry_after > LONGEST_RETRY_AFTER:
                return False
            asked += 1
            growing = min(self.wait_max, error.retry_after * 2.0 ** (asked - 1))
            return max(error.retry_after, growing) * random.uniform(1.0, 1.25)

        return pause

    @staticmethod
    def _given_up(transient: Transient, tries: int) -> ModelError:
        if transient.retry_after and transient.retry_after > LONGEST_RETRY_AFTER:
            return ModelError(
                f"{transient.message}; the server asks to wait {transient.retry_after:.0f} s, not waiting"
            )
        return ModelError(f"{transient.message}; given up after {tries} {'try' if tries == 1 else 'tries'}")
