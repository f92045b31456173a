"""WebShop: a shop behind HTTP."""

import ast
import asyncio
import html
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest
from shops import opened, play, unsolved, written_files

from thread_cli.contracts.environment import Task
from thread_cli.contracts.errors import EnvironmentFailed, UserError
from thread_envs.webshop import WebShop
from thread_envs.webshop.catalogue import open_catalogue
from thread_envs.webshop.pages import Visit
from thread_envs.webshop.shop import LocalShop, RemoteShop, parsed


def written(place: str, page) -> str:
    """A page in the structure of the HTML that WebShop's templates make: loose tags, comments, scripts and all."""
    parts = []
    texts = 0
    for kind, plain in page.elements:
        text = html.escape(plain)
        if kind == "button":
            parts.append(
                f'<form method="post" action="/x">\n  <button type="submit" class="btn"><i class="icon"></i>{text}</button>\n</form>'
            )
        elif kind == "option":
            parts.append(f'<input type="radio" name="o" value="{text}" data-url="/x">\n<label for="r">{text}</label>')
        elif kind == "product":
            parts.append(f'<img src="x.jpg"><h4 class="product-asin"><a class="product-link" href="/x">{text}</a></h5>')
        elif text == "Instruction:":
            parts.append(f'<div id="instruction-text"><h4>{text} <br>')
        elif place == "done" and text.replace(".", "").isdecimal():
            parts.append(f"<pre>{text}</pre></h3>")
        elif place == "done" and "score" in text:
            parts.append(f'<hr class="solid"><h3 id="reward">{text}')
        else:
            parts.append(f"{text}</h4></div>" if texts == 1 else f"<!-- {{% x %}} --><h4>\n   {text}\n  </h5>")
        texts += kind == "text"
    body = "\n".join(parts)
    script = "<script>var label = '<label>no</label>';</script>"
    return f"<!DOCTYPE html><html><head><title>WebShop</title><style>b {{}}</style></head><body>{body}\n{script}</body></html>"


def visit_of(path: str) -> tuple[str, Visit]:
    """What a URL of WebShop's server asks for."""
    place, *rest = [unquote(part) for part in path.strip("/").split("/")]
    if place == "search_results":
        session, query, number = rest
        return session, Visit("results", query, int(number))
    if place == "item_page":
        session, asin, query, number, options = rest
        return session, Visit("item", query, int(number), asin, ast.literal_eval(options))
    if place == "item_sub_page":
        session, asin, query, number, detail, options = rest
        return session, Visit("detail", query, int(number), asin, ast.literal_eval(options), detail)
    if place == "done":
        session, asin, options = rest
        return session, Visit("done", asin=asin, chosen=ast.literal_eval(options))
    return place, Visit()


@pytest.fixture
def serve():
    """Start servers that answer each path with what a function makes of it: status and text."""
    servers = []

    def start(answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, text = answer(self.path)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(serve):
    """A server that serves the embedded catalogue as WebShop does."""
    local = LocalShop(open_catalogue(None), WebShop()._require)

    def answer(path: str) -> tuple[int, str]:
        session, visit = visit_of(path)
        return 200, written(visit.place, asyncio.run(local.page(session, visit)))

    return serve(answer)


async def test_a_server_is_played_as_the_shop_in_this_process(server):
    for number in (0, 3, 8):
        local, here = await opened(number)
        remote, there = await opened(number, server=server, timeout=10)
        assert here == there
        goal = local._require(f"fixed_{number}")
        title = local._catalogue.product(goal.asin).title
        actions = [
            f"search[{title} 1/2?#%]",
            "click[Next >]",
            "click[< Prev]",
            f"click[{goal.asin}]",
            "click[Features]",
        ]
        actions += [
            "click[< Prev]",
            *(f"click[{value}]" for value in goal.values),
            "click[Description]",
            "click[< Prev]",
        ]
        for action in [*actions, "click[nonsense]", "click[Buy Now]"]:
            assert await local.step(action) == await remote.step(action)
        assert local._at[1].score == 1.0


async def test_the_teacher_plays_on_a_server_whose_files_it_has(server, tmp_path):
    folder = written_files(tmp_path)
    shop = WebShop(server=server, data=str(folder))
    tasks = shop.tasks("test")[:3]
    assert unsolved(tasks, await play(shop, tasks)) == []
    with pytest.raises(UserError, match=r"give them with options\.data"):
        WebShop(server=server).teacher(tasks[0])
    with pytest.raises(UserError, match="a server does not list its goals"):
        shop.tasks("all")
    assert shop.find("fixed_4711") == Task("fixed_4711")


async def test_troubles_of_a_server_are_told_in_a_line(serve):
    cases = {
        serve(lambda _: (500, "no such goal")): "answers 500 Internal Server Error for http",
        serve(lambda _: (200, "<h1>It works!</h1>")): "is no page of a WebShop server",
        serve(lambda _: (time.sleep(1.5), (200, ""))[1]): "did not answer within 0.3 s|no answer within 0.3 s",
        "http://127.0.0.1:1": "cannot be used: .*refused",
    }
    for url, message in cases.items():
        with pytest.raises(EnvironmentFailed, match=message) as caught:
            await WebShop(server=url, timeout=0.3).reset(Task("fixed_0"))
        assert "\n" not in str(caught.value)


async def test_a_purchase_without_a_score_is_the_servers_failure(serve):
    local = LocalShop(open_catalogue(None), WebShop()._require)

    def answer(path: str) -> tuple[int, str]:
        session, visit = visit_of(path)
        page = asyncio.run(local.page(session, visit))
        return 200, "<p>sorry</p>" if visit.place == "done" else written(visit.place, page)

    shop, _ = await opened(server=serve(answer))
    await shop.step("search[lamp]")
    await shop.step(f"click[{shop._at[1].products[0]}]")
    with pytest.raises(EnvironmentFailed, match="no score"):
        await shop.step("click[Buy Now]")


def test_texts_are_told_by_the_tag_above_them():
    page = parsed("<h4>size</h4><label>a &amp; b</label><a class='product-link'>B0</a><a>no</a><p>x<script>y</script>")
    assert [*page.elements] == [("text", "size"), ("option", "a & b"), ("product", "B0"), ("text", "no"), ("text", "x")]
    assert page.options == {"a & b": "size"}
    assert page.score is None
    assert parsed("<h3>Your score (min 0.0, max 1.0)<pre>0.25</pre></h3>").score == 0.25
    assert parsed("<h3>Your score (min 0.0, max 1.0)<pre>none</pre></h3>").score is None


def test_a_path_holds_any_query_and_option(serve):
    seen = []
    url = serve(lambda path: (seen.append(path), (200, "<p>x</p>"))[1])
    visit = Visit("item", "50% off? a/b #1 «é»", 2, "B0", {"size": "5'6\" | 7", "colour": "é/#?%"})
    asyncio.run(RemoteShop(url, 5).page("fixed_0", visit))
    assert visit_of(seen[0]) == ("fixed_0", Visit("item", "50% off? a b #1 «é»", 2, "B0", visit.chosen))
