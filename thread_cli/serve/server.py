"""Starts a server for a model, and ends it in order at a signal."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
from typing import TYPE_CHECKING

import uvicorn

from thread_cli.contracts.errors import UserError
from thread_cli.serve.app import Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from thread_cli.models.llama import LlamaModel

__all__ = ["serve"]


async def serve(
    model: LlamaModel, name: str, *, host: str, port: int, key: str | None, ready: Callable[[str], None]
) -> None:
    """Serve a model until a signal ends it, and close it. `ready` is called with the base URL once the server answers
    calls.

    Raises:
        UserError: the address cannot be bound, it is open to others and there is no key, or the model cannot be loaded.
    """
    try:
        with _bound(host, port, key) as listener:
            service = Service(model, name, await model.describe(), key, host)
            if service.template.trouble:
                print(f"thread: {service.template.trouble}; only raw completions are served", file=sys.stderr)  # noqa: T201
            server = _Server(service)
            address, number = listener.getsockname()[:2]
            listener.listen()
            ready(f"http://{f'[{address}]' if ':' in address else address}:{number}/v1")
            await server.serve([listener])
    finally:
        await model.close()


class _Server(uvicorn.Server):
    """Ends calls under way as soon as a signal comes, instead of waiting for them."""

    def __init__(self, service: Service) -> None:
        super().__init__(
            uvicorn.Config(
                service.app, log_config=None, access_log=False, lifespan="off", ws="none", server_header=False
            )
        )
        self._service = service
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._service.close)
        super().handle_exit(sig, frame)


def _bound(host: str, port: int, key: str | None) -> socket.socket:
    """A socket with the address, which nobody can connect to yet."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise UserError(f"--host {host!r} is no address of this machine") from None
    if key is None and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise UserError(f"--host {host}: others could reach the server; give --api-key, or set THREAD_SERVE_KEY")
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise UserError(f"cannot listen at {host} port {port}: {error.strerror}; choose another --port") from None
    return listener
