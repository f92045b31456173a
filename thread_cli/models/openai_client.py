"""The connection to an OpenAI-compatible server: its URL, the key for it, and one client for all models at it."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import openai
from pydantic import SecretStr

from thread_cli.contracts.errors import UserError

__all__ = ["OPENAI_URL", "SharedClient", "checked_url", "key_for"]

OPENAI_URL: Final = "https://api.openai.com/v1"
"""Base URL of OpenAI's own API, which is used where no other is configured."""


@dataclass(slots=True)
class SharedClient:
    """The client of one base URL on one event loop, closed with the last model that uses it."""

    loop: asyncio.AbstractEventLoop
    place: tuple[str, SecretStr]
    client: openai.AsyncOpenAI = field(repr=False)
    users: int = 0

    @classmethod
    def on(cls, loop: asyncio.AbstractEventLoop, endpoint: str, key: SecretStr) -> SharedClient:
        for other in [other for other in _clients if other[0].is_closed()]:
            del _clients[other]
        place = (endpoint, key)
        shared = _clients.get((loop, place))
        if shared is None:
            # A proxy cannot reach this machine's own ports.
            direct = openai.DefaultAsyncHttpxClient(trust_env=False) if _is_local(endpoint) else None
            client = openai.AsyncOpenAI(
                api_key=key.get_secret_value(), base_url=endpoint, max_retries=0, http_client=direct
            )
            shared = _clients[loop, place] = cls(loop, place, client)
        shared.users += 1
        return shared

    async def release(self) -> None:
        self.users -= 1
        if self.users == 0:
            _clients.pop((self.loop, self.place), None)
            if self.loop is asyncio.get_running_loop():
                await self.client.close()


_clients: dict[tuple[asyncio.AbstractEventLoop, tuple[str, SecretStr]], SharedClient] = {}


def checked_url(url: str) -> str:
    """A base URL without its last slash.

    Raises:
        UserError: it is no URL, or has parts that belong elsewhere, such as a query.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise UserError("the base URL is malformed; it looks like http://localhost:8000/v1") from None
    if parts.username is not None or parts.password is not None:
        raise UserError("the base URL contains credentials; put the key into THREAD_API_KEY instead")
    if parts.query or parts.fragment:
        raise UserError("the base URL ends before any ? or #; a key belongs into THREAD_API_KEY")
    if not usable:
        raise UserError(f"the base URL {url!r} is not of the form http://HOST:PORT/v1")
    return url.rstrip("/")


def _is_local(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def key_for(endpoint: str) -> SecretStr:
    """The key for a server, from the environment.

    Raises:
        UserError: there is none, or it has characters that no key has.
    """
    names = ["OPENAI_API_KEY"]
    if urlsplit(endpoint).hostname != urlsplit(OPENAI_URL).hostname:
        names.insert(0, "THREAD_API_KEY")
    for name in names:
        key = os.environ.get(name, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise UserError(f"{name} holds a character that no key has: set it anew")
        if key:
            return SecretStr(key)
    if _is_local(endpoint):
        return SecretStr("none")
    hint = "" if names[0] == "OPENAI_API_KEY" else ", to any text if the server asks for none"
    raise UserError(f"no key for {endpoint}: set the environment variable {names[0]}{hint}")
