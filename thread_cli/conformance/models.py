"""Requirements on every backend, as checks that run against the backend itself.

The contract is that of `Model`, `Request` and `Completion`. The checks ask for short greedy texts, and depend on one
thing that nearly every model knows: how a plain list of numbers goes on.

    async for verdict in check(lambda: MyModel()): ...
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from thread_cli.conformance.model_case import ASKED, MARK
from thread_cli.conformance.model_streams import STREAMS
from thread_cli.conformance.verdicts import Failure, NotApplicable, Verdict, judged, require
from thread_cli.contracts.errors import LimitReached, ModelError, ThreadFailure, UserError
from thread_cli.contracts.model import Completion
from thread_cli.models.retry import Transient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection

    from thread_cli.contracts.model import Model, Request

__all__ = ["CHECKS", "Failure", "NotApplicable", "Verdict", "check"]

_PATIENCE: Final = 120.0


async def check(
    model: Callable[[], Model],
    *,
    longest: int | None = None,
    only: Collection[str] | None = None,
    patience: float = _PATIENCE,
) -> AsyncIterator[Verdict]:
    """Put a backend to all checks, one after the other, each with a new one.

    Args:
        model: makes one.
        longest: tokens of the longest prompt that the backend accepts; None if unknown.
        only: names of the checks to run; None for all.
        patience: seconds that a check may take.

    Raises:
        UserError: there is no such model.
    """
    for name, run in CHECKS.items():
        if only is not None and name not in only:
            continue
        opened = model()
        try:
            yield await judged(name, run(opened, longest), patience, passing=(UserError,))
        finally:
            await opened.close()
            await opened.close()


async def _text(model: Model, request: Request = ASKED) -> Completion:
    done = await model.complete(request)
    require(not (MARK in done.text or "=>" in done.text), f"a stop string is part of the text {done.text!r:.80}")
    return done


async def _goes_on(model: Model, _longest: int | None) -> None:
    done = await _text(model)
    require(done.text.strip(), "it writes nothing")
    require(not done.text.lstrip().startswith("41, 42, 43,"), f"it repeats the begun answer: {done.text!r:.80}")
    require("44" in done.text, f"it does not go on with the begun answer: {done.text!r:.80}")


async def _stops(model: Model, _longest: int | None) -> None:
    text = (await _text(model)).text
    word = next((part for part in text.split() if len(part) > 1 and text.find(part) > 0), "")
    if not word:
        raise NotApplicable(f"it wrote nothing to stop at: {text!r:.60}")
    for place, stops in ((0, (word, MARK)), (1, (MARK, word))):
        done = await model.complete(replace(ASKED, stop=stops))
        require(word not in done.text, f"the stop string {word!r} is part of the text {done.text!r:.80}")
        require(done.stop_string in {None, word}, f"stopped at {word!r}, it names {done.stop_string!r}")
        require(
            done.stop in (("listen", "stop"), ("end", "stop"))[place], f"stopped at {word!r}, it says {done.stop!r}"
        )


async def _many_stops(model: Model, _longest: int | None) -> None:
    text = (await _text(model)).text
    word = next((part for part in text.split() if len(part) > 1 and text.find(part) > 0), "")
    if not word:
        raise NotApplicable(f"it wrote nothing to stop at: {text!r:.60}")
    done = await model.complete(replace(ASKED, stop=(MARK, "=>", "###", "§§", "@@@", word)))
    require(word not in done.text, f"the sixth stop string {word!r} is part of the text {done.text!r:.80}")


async def _length(model: Model, _longest: int | None) -> None:
    done = await model.complete(replace(ASKED, max_tokens=6))
    require(done.stop == "length", f"after 6 tokens it says {done.stop!r}")
    text = done.usage.generated - done.usage.reasoning
    require(text <= 8, f"it wrote {text} tokens of 6")  # a special token or two may be counted


async def _usage(model: Model, _longest: int | None) -> None:
    for _ in range(2):
        usage = (await _text(model)).usage
        numbers = (usage.prompt, usage.cached, usage.generated, usage.reasoning)
        require(min(numbers) >= 0, f"a count is negative: {numbers}")
        require(usage.cached <= usage.prompt, f"{usage.cached} of {usage.prompt} prompt tokens are said to be cached")
        require(usage.reasoning <= usage.generated, f"{usage.reasoning} of {usage.generated} tokens are reasoning")
        require(usage.generated > 0, "it wrote a text of no tokens")
        require(usage.cost is None or usage.cost >= 0, f"it cost {usage.cost}")


async def _too_long(model: Model, longest: int | None) -> None:
    if longest is None:
        raise NotApplicable("how long a prompt may be is not known")
    # Each number has at least one token, so this prompt is too long, but not so long that a server refuses it unseen.
    numbers = " ".join(str(number % 10) for number in range(longest + longest // 4))
    try:
        done = await model.complete(replace(ASKED, c=f"{numbers}\n"))
    except LimitReached as reached:
        require(reached.limit == "context", f"the limit is called {reached.limit!r}")
        return
    except (ModelError, Transient) as error:
        raise Failure(f"a prompt that is too long counts as {type(error).__name__}: {error}") from None
    raise Failure(f"a prompt of {longest + longest // 4} words is answered with {done.text!r:.60}")


async def _cancelled(model: Model, _longest: int | None) -> None:
    endless = replace(ASKED, stop=("\x00",), max_tokens=2000)
    for _ in range(3):
        call = asyncio.ensure_future(model.complete(endless))
        await asyncio.sleep(0.3)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    require((await _text(model)).text.strip(), "after calls were cancelled it writes nothing")


async def _at_once(model: Model, _longest: int | None) -> None:
    requests = [replace(ASKED, c=f"{n}1, {n}2, {n}3\n", thread=f"0.{n}") for n in range(16)]
    done = await asyncio.gather(*map(model.complete, requests), return_exceptions=True)
    failed = [each for each in done if isinstance(each, BaseException)]
    require(not failed, f"{len(failed)} of 16 calls at once failed: {failed[:1]}")
    empty = sum(isinstance(each, Completion) and not each.text.strip() for each in done)
    require(not empty, f"{empty} of 16 calls at once wrote nothing")


async def _odd_texts(model: Model, _longest: int | None) -> None:
    for text in ("naïve 漢字 😀\n", "lone \udc80 half\n", "\x00\x1b[31m\x7f\n", "<|im_end|></s>{{ x }}\n"):
        try:
            done = await model.complete(replace(ASKED, c=text))
        except ThreadFailure as failure:
            require(failure.message == " ".join(failure.message.split("\n")), "a failure is told in several lines")
            require(not failure.fatal, f"the prompt {text!r} fails: {failure.message}")
        else:
            done.text.encode("utf-8")


async def _closed(model: Model, _longest: int | None) -> None:
    await _text(model)
    await model.close()
    await model.close()


CHECKS: Final[dict[str, Callable[[Model, int | None], Awaitable[None]]]] = {
    "goes on with a begun answer": _goes_on,
    "stops at stop strings and tells which": _stops,
    "takes more than four stop strings": _many_stops,
    "keeps the limit of tokens": _length,
    "counts tokens": _usage,
    "a prompt too long is a limit of the thread": _too_long,
    "survives cancelled calls": _cancelled,
    "takes 16 calls at once": _at_once,
    "takes any text": _odd_texts,
    **STREAMS,
    "may be closed twice": _closed,
}
"""Checks by name, in the order in which they run; each gets the model and the most tokens that a prompt may have."""
