"""The meaning of failed calls to an OpenAI-compatible server.

Servers agree on status codes but not on words, so most of this reads messages. Refusals for the key, the quota, the
rate or the length of the prompt are recognised first, whatever the status; for all others the caller tries the next
shape of the call. Every message that leaves this module has been scrubbed of the key and is one printable line.
"""

from __future__ import annotations

import json
import math
import re
import socket
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import httpx2
import openai

from thread_cli.contracts.errors import LimitReached, ModelError, Withheld
from thread_cli.models.openai_lengths import too_long
from thread_cli.models.retry import Fault, Transient

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from thread_cli.contracts.model import Usage

__all__ = ["ServerFailure", "failure_in_stream", "lasting", "rejected_parameter", "scrub", "translate", "words_in"]

_DISPENSABLE: Final = frozenset({"stop", "seed", "stream_options", "temperature", "top_p"})
_UNSUPPORTED: Final = re.compile(
    r"unsupported|not (currently )?supported|n['o]t support|unknown|unrecogni[sz]ed|unexpected|not permitted"
    r"|not allowed|extra_forbidden|not available|deprecated|extra inputs?|additional propert|cannot be used"
    r"|(must be|only) (set to )?(the default|1(\.0)?\b)|only the default|use '?max_completion_tokens",
    re.IGNORECASE,
)
_LENGTH_OF_VALUE: Final = re.compile(r"context (length|window|size)|too (large|long)|maximum", re.IGNORECASE)
_NO_MODEL: Final = re.compile(
    r"\bmodel\b.*(not found|not exist|unknown|no such)|(unknown|no such) model", re.IGNORECASE
)
_KEY: Final = re.compile(
    r"(api[ _-]?key|access token|bearer|authentication|credentials?)\b.{0,60}"
    r"(invalid|incorrect|not valid|missing|expired|required|wrong|not found|fail|provide)"
    r"|(invalid|incorrect|missing|expired|wrong|no)\b.{0,20}(api[ _-]?key|access token|credentials?)|unauthori[sz]ed",
    re.IGNORECASE,
)
_QUOTA: Final = re.compile(
    r"insufficient[ _](quota|balance|credit|fund)"
    r"|(credit|balance|fund)s?\b.{0,40}(too low|exhausted|insufficient|run out)"
    r"|payment required|billing_(hard_limit|not_active)|out of (credit|fund)s?|add (more )?credits|arrears",
    re.IGNORECASE,
)
_FILTERED: Final = re.compile(
    r"content[ _]?(filter|policy|exists risk|management)|ResponsibleAIPolicy|data_inspection_failed|moderation"
    r"|flagged|safety (system|setting|filter)|prohibited[ _]content",
    re.IGNORECASE,
)
_RATE: Final = re.compile(r"rate[ _-]?limit|too many requests|per (minute|day|hour)|\b[tr]p[md]\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ServerFailure:
    """A failed call, scrubbed of the key. `fault` is None where another try would fail the same way.

    `status` is the HTTP status, or the one that matches an error within a stream; None if the server sent nothing.
    `retry_after` is in seconds. `usage` is that of the answer until it broke off.
    """

    message: str
    fault: Fault | None = None
    status: int | None = None
    code: str = ""
    parameter: str = ""
    retry_after: float | None = None
    unreachable: str = ""
    usage: Usage | None = None
    withheld: bool = False
    """Whether a filter keeps the answer back."""

    @classmethod
    def of(cls, error: Exception, key: str, *, started: bool = False) -> ServerFailure:
        """The failure for an exception of the client. `started`: the server had begun to answer."""
        if isinstance(error, (openai.APITimeoutError, httpx2.TimeoutException)):
            return cls("no answer in time", fault="timeout")
        if isinstance(error, (openai.APIConnectionError, httpx2.TransportError)):
            if started:
                return cls("the connection broke off in the middle of the answer", fault="cut_stream")
            unreachable = _unreachable(error)
            return cls(unreachable or "the connection broke off", fault="connection", unreachable=unreachable)
        if isinstance(error, openai.APIError):
            reported = _reported(error)
            return replace(
                reported,
                message=_one_line(_words(error.body, str(error.message)), key),
                code=scrub(reported.code, key),
                parameter=scrub(reported.parameter, key),
            )
        if isinstance(error, ValueError):
            return cls("the answer is not readable as a stream of events", fault="cut_stream")
        return cls(_one_line(str(error), key))

    @property
    def words(self) -> str:
        """The server's words, all of them."""
        return f"{self.code} {self.message}".strip()

    @property
    def too_long(self) -> bool:
        """Whether the prompt is too long."""
        return self.status is not None and too_long(self.words, self.status, self.parameter)

    @property
    def no_model(self) -> bool:
        """Whether the server says that it does not have the model."""
        return "model_not_found" in self.code or bool(_NO_MODEL.search(self.message))


def translate(
    failure: ServerFailure, name: str, endpoint: str, *, reached: bool, chat_tried: bool
) -> Transient | ModelError | LimitReached | Withheld:
    """The exception for a failure of model `name`, for the user, the retrying or the thread."""
    parts = urlsplit(endpoint)
    if failure.unreachable and not reached:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return ModelError(
            f"cannot reach {parts.hostname}:{port}: {failure.unreachable}; start the server or correct the base URL"
        )
    status = "" if failure.status is None else f"HTTP {failure.status}: "
    line = f"{name} at {endpoint}: {status}{failure.message}"
    if failure.too_long:
        return LimitReached("context", f"the thread no longer fits into the context of {name}", owner="model")
    if failure.withheld:
        return Withheld(line)
    if failure.fault is not None:
        return Transient(failure.fault, line, failure.retry_after, failure.usage)
    if failure.status in (401, 403) or _KEY.search(failure.words):
        variable = "OPENAI_API_KEY" if parts.hostname == "api.openai.com" else "THREAD_API_KEY"
        return ModelError(f"{line}; check the key in {variable}")
    if failure.no_model or (failure.status == 404 and not chat_tried):
        return ModelError(f"{line}; {endpoint}/models lists what the server offers")
    if failure.status in (404, 405, 501):
        return ModelError(f"{line}; neither completions nor chat are there: a base URL usually ends in /v1")
    return ModelError(line)


def lasting(failure: ServerFailure) -> bool:
    """Whether no other shape of the call can help: the key, the quota, the rate or the length was refused."""
    if failure.unreachable or failure.withheld:
        return True
    if failure.too_long or failure.fault is not None:
        return True
    if failure.status in (401, 402, 429):
        return True
    return bool(_KEY.search(failure.words) or _QUOTA.search(failure.words))


def rejected_parameter(failure: ServerFailure, sent: Collection[str]) -> str | None:
    """The parameter that the server rejected, among those sent, if that is the failure."""
    if failure.status is None or not 400 <= failure.status < 500 or failure.status in (401, 402, 404, 413, 429):
        return None
    named = re.split(r"[.\[]", failure.parameter)[0]
    if named in sent and named in _DISPENSABLE:
        return named
    if not _UNSUPPORTED.search(failure.words) or _LENGTH_OF_VALUE.search(failure.message):
        return None
    if named in sent:
        return named
    places = {name: found.start() for name in sent if (found := re.search(rf"\b{name}\b", failure.message))}
    return min(places, key=places.__getitem__) if places else None


def failure_in_stream(data: Mapping[str, Any], key: str, *, certain: bool = False) -> ServerFailure | None:
    """The failure in an event of a stream, if it has one: `error`, or an object of that kind.

    `certain`: the event is known to report a failure.
    """
    error: Any = data.get("error")
    if not error:
        if not certain and data.get("object") != "error" and data.get("type") != "error":
            return None
        error = data
    fields = _fields(error) or {**data, "message": str(error)}
    code = " ".join(str(fields[name]) for name in ("code", "type", "status", "error_type") if fields.get(name))
    parameter = fields.get("param")
    message = _one_line(words_in(fields) or json.dumps(fields), key)
    status = _status_within_stream(code, message)
    return ServerFailure(
        message,
        fault=_fault(status, f"{code} {message}"),
        status=status,
        code=scrub(code, key),
        parameter=scrub(parameter, key) if isinstance(parameter, str) else "",
    )


def scrub(text: str, key: str) -> str:
    """`text` without the key, whole or in the shortened forms in which servers quote it."""
    if key:
        text = text.replace(key, "***")
    if len(key) >= 8:
        text = re.sub(rf"\S*{re.escape(key[:6])}\S*", "***", text)
    return re.sub(r"\bsk-[\w*.-]+|[\w-]*\*{4,}[\w-]*", "***", text)


def _reported(error: openai.APIError) -> ServerFailure:
    fields = _fields(error.body)
    code = f"{error.code or fields.get('code') or ''} {error.type or fields.get('type') or ''}".strip()
    code = f"{code} {fields.get('status') or fields.get('error_type') or ''}".strip()
    status, retry_after = _status_within_stream(code), None
    if isinstance(error, openai.APIStatusError):
        status, retry_after = error.status_code, _retry_after(error.response.headers)
    parameter = error.param or fields.get("param")
    words = f"{code} {_words(error.body, '')}"
    return ServerFailure(
        "",
        fault=_fault(status, words),
        withheld=status in (400, 403, 451) and bool(_FILTERED.search(words)),
        status=status,
        code=code,
        parameter=parameter if isinstance(parameter, str) else "",
        retry_after=retry_after,
    )


def _fault(status: int, words: str) -> Fault | None:
    if status == 429:
        return None if _QUOTA.search(words) else "rate_limit"
    if status in (408, 504):
        return "timeout"
    if status in (409, 425) or (status >= 500 and status not in (501, 505)):
        return "server"
    return None


def _status_within_stream(code: str, message: str = "") -> int:
    number = re.search(r"\b[45]\d\d\b", code)
    if number:
        return int(number[0])
    if _QUOTA.search(f"{code} {message}"):
        return 402
    if _RATE.search(code) or "resource_exhausted" in code.lower():
        return 429
    lasting = "invalid|validation|bad_?request|exceed_context|not_?found|too_?long"
    return 400 if re.search(lasting, code, re.IGNORECASE) else 500


def _fields(body: object) -> dict[str, Any]:
    """The object that describes an error, however deep servers put it: in a list, under `error`, `errors`, `detail`."""
    if isinstance(body, list) and body:
        return _fields(cast("list[object]", body)[0])
    if not isinstance(body, dict):
        return {}
    fields = cast("dict[str, Any]", body)
    # A list under `detail` is FastAPI's, and names the wrong field beside the error.
    names = [name for name in ("error", "errors", "detail") if name != "detail" or isinstance(fields.get(name), dict)]
    inner = next((found for name in names if (found := _fields(fields.get(name)))), None)
    return {**fields, **inner} if inner else fields


def words_in(body: object) -> str:
    """The message of an error; empty if it has none."""
    fields = _fields(body)
    names = ("message", "detail", "error", "msg", "error_message", "error_msg")
    return next((fields[name] for name in names if isinstance(fields.get(name), str)), "")


def _words(body: object, otherwise: str) -> str:
    if words := words_in(body):
        return words
    if fields := _fields(body):
        return json.dumps(fields)
    text = str(body or otherwise)
    return "the server sent a page instead of an answer" if text.lstrip().startswith("<") else text


def _one_line(text: str, key: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in scrub(text, key))
    line = " ".join(printable.split())
    return line if len(line) <= 300 else f"{line[:300]}…"


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
