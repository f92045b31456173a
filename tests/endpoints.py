"""What tests of API models ask, and how: one request, one model, one answer or failure."""

import pytest
from servers import Server, error

from thread_cli.contracts.errors import ThreadFailure
from thread_cli.contracts.model import Request
from thread_cli.models.openai import OpenAIModel
from thread_cli.models.retry import Transient

KEY = "sk-thread-0123456789-abcdef-SECRET"
REQUEST = Request("examples\n", "context\n", "begun ", ("=>", "#END#"), max_tokens=20, seed=3)


async def ask(server: Server | str, request: Request = REQUEST, **options):
    model = OpenAIModel("m", server if isinstance(server, str) else server.url, **options)
    try:
        return await model.complete(request)
    finally:
        await model.close()


async def failure(plan, **options) -> Exception:
    with Server(plan) as server, pytest.raises((Transient, ThreadFailure)) as raised:
        await ask(server, **options)
    assert "\n" not in str(raised.value)
    return raised.value


def chat_only(answer, status=404, message="Not Found"):
    return lambda seen: answer if seen.path.endswith("/chat/completions") else error(status, message)
