"""Who may call a server that asks for no key: programs of this machine, by names of this machine."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import Receive, Scope, Send

__all__ = ["guards"]


def guards(host: str) -> list[Middleware]:
    """Starlette's own checks of `Host` and `Origin`; `host` is where the server listens."""
    names = {"localhost", "127.0.0.1", "::1", "[::1]", socket.gethostname(), host, f"[{host}]" if ":" in host else host}
    local = "|".join(map(re.escape, sorted(names)))
    origins = rf"https?://({local}|([\w-]+\.)+localhost)(:\d+)?"
    return [
        Middleware(TrustedHostMiddleware, allowed_hosts=[*sorted(names), "*.localhost"], www_redirect=False),
        Middleware(_LocalPages, allow_origin_regex=origins, allow_methods=["*"], allow_headers=["*"]),
    ]


class _LocalPages(CORSMiddleware):
    """Starlette's rules for pages of other origins, kept for requests as well that browsers send without asking."""

    async def simple_response(self, scope: Scope, receive: Receive, send: Send, request_headers: Headers) -> None:
        origin = request_headers.get("origin")
        if origin is not None and not self.is_allowed_origin(origin):
            await PlainTextResponse("Disallowed origin", status_code=403)(scope, receive, send)
            return
        await super().simple_response(scope, receive, send, request_headers)
