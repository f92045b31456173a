"""Errors in the form of OpenAI's interface: a status and a JSON object with a message and a code."""

from __future__ import annotations

from typing import Any

from thread_cli.contracts.errors import LimitReached, ModelError, UserError

__all__ = ["Refused", "refused"]


class Refused(Exception):
    """A request is refused, for the reason given. `parameter` names the field of the request that is at fault."""

    def __init__(self, status: int, message: str, *, code: str | None = None, parameter: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.parameter = parameter

    @property
    def body(self) -> dict[str, Any]:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.parameter, "code": self.code}}


def refused(error: Exception, *, closing: bool) -> Refused:
    """The refusal for an exception that the model raised."""
    if isinstance(error, Refused):
        return error
    if closing:
        return Refused(503, "the server is closing")
    if isinstance(error, LimitReached):
        return Refused(400, error.message, code="context_length_exceeded", parameter="prompt")
    if isinstance(error, UserError):
        return Refused(400, error.message, code="invalid_value")
    if isinstance(error, ModelError):
        return Refused(500, error.message)
    return Refused(500, f"{type(error).__name__}: {error}")
