"""What a failed call of an OpenAI-compatible server means.

Servers agree on status codes but not on words, so most of this reads messages: is the endpoint missing or the model,
is a parameter unknown or its value wrong, is the key wrong. Whatever leaves this module has been scrubbed of the key
and is one printable line.
"""

from __future__ import annotations

import json
import math
import re
import socket
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import openai

from thread_cli.engine.errors import LimitReached, ModelError
from thread_cli.models.retry import Fault, Transient

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = ["Failure", "rejected_parameter", "scrub", "translate", "wants_chat"]

_DISPENSABLE = frozenset({"stop", "seed", "stream_options"})
_UNSUPPORTED = re.compile(
    r"unsupported|not (currently )?supported|n['o]t support|unknown|unrecogni[sz]ed|unexpected|not permitted"
    r"|not allowed|extra_forbidden|not available|deprecated",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(r"context (length|window|size)|too (large|long)|maximum", re.IGNORECASE)
_CONTEXT_FULL = re.compile(r"context[ _](length|window|size)", re.IGNORECASE)
_CHAT_ONLY = re.compile(
    r"chat/completions|chat model|not an? (text )?completions? model|chat completions? (api|endpoint)"
    r"|not support (the )?(text |legacy |raw )?completions?",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(r"\bmodel\b.*(not found|not exist|unknown|no such)|(unknown|no such) model", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call, scrubbed of the key. `fault` is None where another try would fail the same way.

    `status` is the HTTP status, or the one that an error told within a stream amounts to; None where the server said
    nothing. `retry_after` is in seconds.
    """

    message: str
    fault: Fault | None = None
    status: int | None = None
    code: str = ""
    parameter: str = ""
    retry_after: float | None = None
    unreachable: str = ""

    @classmethod
    def of(cls, error: Exception, key: str, *, started: bool = False) -> Failure:
        """What an exception of the client means. `started`: the server had begun to answer."""
        if isinstance(error, openai.APITimeoutError):
            return cls("no answer in time", fault="timeout")
        if isinstance(error, openai.APIConnectionError):
            if started:
                return cls("the connection broke off in the middle of the answer", fault="cut_stream")
            unreachable = _unreachable(error)
            return cls(unreachable or "the connection broke off", fault="connection", unreachable=unreachable)
        if isinstance(error, openai.APIError):
            told = _told(error)
            return replace(
                told,
                message=_one_line(_words(error), key),
                code=scrub(told.code, key),
                parameter=scrub(told.parameter, key),
            )
        if isinstance(error, ValueError):
            return cls("the answer is not readable as a stream of events", fault="cut_stream")
        return cls(_one_line(str(error), key))


def translate(
    failure: Failure, name: str, endpoint: str, *, reached: bool, chat_tried: bool
) -> Transient | ModelError | LimitReached:
    """The exception that tells the user, the retrying or the thread of a failure of model `name`."""
    parts = urlsplit(endpoint)
    if failure.unreachable and not reached:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return ModelError(
            f"cannot reach {parts.hostname}:{port}: {failure.unreachable}; start the server or correct the base URL"
        )
    status = "" if failure.status is None else f"HTTP {failure.status}: "
    line = f"{name} at {endpoint}: {status}{failure.message}"
    if failure.fault is not None:
        return Transient(failure.fault, line, failure.retry_after)
    if failure.status in (400, 413, 422) and _CONTEXT_FULL.search(f"{failure.code} {failure.message}"):
        return LimitReached("context", f"the thread no longer fits into the context of {name}")
    if failure.status in (401, 403):
        variable = "OPENAI_API_KEY" if parts.hostname == "api.openai.com" else "THREAD_API_KEY"
        return ModelError(f"{line}; check the key in {variable}")
    if failure.status in (404, 405, 501) and not _names_model(failure) and chat_tried:
        return ModelError(f"{line}; neither completions nor chat are there: a base URL usually ends in /v1")
    if failure.status == 404:
        return ModelError(f"{line}; {endpoint}/models lists what the server offers")
    return ModelError(line)


def wants_chat(failure: Failure) -> bool:
    """Whether the completion endpoint is missing, for this model at least."""
    if failure.status in (400, 403, 404, 422) and _CHAT_ONLY.search(failure.message):
        return True
    return failure.status in (404, 405, 501) and not _names_model(failure)


def rejected_parameter(failure: Failure, sent: Collection[str]) -> str | None:
    """The parameter among those sent that the server refuses to know, if that is what failed."""
    if failure.status not in (400, 422):
        return None
    named = re.split(r"[.\[]", failure.parameter)[0]
    if named in sent and named in _DISPENSABLE:
        return named
    if not _UNSUPPORTED.search(f"{failure.code} {failure.message}") or _TOO_LONG.search(failure.message):
        return None
    if named in sent:
        return named
    places = {name: found.start() for name in sent if (found := re.search(rf"\b{name}\b", failure.message))}
    return min(places, key=places.__getitem__) if places else None


def scrub(text: str, key: str) -> str:
    """`text` without the key, whole or in the shortened forms in which servers quote it."""
    if key:
        text = text.replace(key, "***")
    if len(key) >= 8:
        text = re.sub(rf"\S*{re.escape(key[:6])}\S*", "***", text)
    return re.sub(r"\bsk-[\w*.-]+|[\w-]*\*{4,}[\w-]*", "***", text)


def _told(error: openai.APIError) -> Failure:
    code = f"{error.code or ''} {error.type or ''}".strip()
    status, retry_after = _status_within_stream(code), None
    if isinstance(error, openai.APIStatusError):
        status, retry_after = error.status_code, _retry_after(error.response.headers)
    return Failure(
        "",
        fault=_fault(status, code),
        status=status,
        code=code,
        parameter=error.param if isinstance(error.param, str) else "",
        retry_after=retry_after,
    )


def _fault(status: int, code: str) -> Fault | None:
    if status == 429:
        return None if "insufficient_quota" in code else "rate_limit"
    if status in (408, 504):
        return "timeout"
    if status in (409, 425) or (status >= 500 and status not in (501, 505)):
        return "server"
    return None


def _status_within_stream(code: str) -> int:
    number = re.search(r"\b[45]\d\d\b", code)
    if number:
        return int(number[0])
    if "rate_limit" in code:
        return 429
    return 400 if re.search("invalid|bad_?request|exceed_context", code, re.IGNORECASE) else 500


def _words(error: openai.APIError) -> str:
    body = error.body
    if isinstance(body, dict):
        fields = cast("dict[str, Any]", body)
        for field in ("message", "detail", "error", "msg"):
            if isinstance(fields.get(field), str):
                return fields[field]
        return json.dumps(fields)
    text = str(body or error.message)
    return "the server sent a page instead of an answer" if text.lstrip().startswith("<") else text


def _one_line(text: str, key: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in scrub(text, key))
    line = " ".join(printable.split())
    return line if len(line) <= 300 else f"{line[:300]}…"


def _names_model(failure: Failure) -> bool:
    return "model_not_found" in failure.code or bool(_NO_MODEL.search(failure.message))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from the two headers in use, the second of which may hold a date (RFC 9110, section 10.2.3)."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                date = parsedate_to_datetime(value)
            except ValueError:
                continue
            seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def _unreachable(error: BaseException) -> str:
    for cause in _causes(error):
        if isinstance(cause, ConnectionRefusedError):
            return "nothing listens there (connection refused)"
        if isinstance(cause, socket.gaierror):
            return "the host name is unknown"
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        cause = pending.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        pending += [cause.__cause__, cause.__context__]
        if isinstance(cause, BaseExceptionGroup):
            pending += cast("BaseExceptionGroup[BaseException]", cause).exceptions
