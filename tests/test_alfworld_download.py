"""ALFWorld's official games are downloaded."""

import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from games import game_files

from thread_cli.contracts.errors import UserError
from thread_envs.alfworld import Alfworld
from thread_envs.alfworld.download import download
from thread_envs.alfworld.generator import category_of, generate
from thread_envs.alfworld.reading import CATEGORIES


class Server(ThreadingHTTPServer):
    """Serves one archive, with ranges; the first answers break off."""

    def __init__(self, body: bytes, *, breaks: int = 0, ranges: bool = True, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.breaks, self.ranges, self.status = body, breaks, ranges, status
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        if server.status != 200:
            self.send_error(server.status)
            return
        if start >= len(server.body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        rest = server.body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if server.breaks:
            server.breaks -= 1
            rest = rest[: len(rest) // 2]
            self.close_connection = True
        self.wfile.write(rest)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def serve(monkeypatch):
    servers: list[Server] = []

    def start(*arguments, **options) -> Server:
        server = Server(*arguments, **options)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        monkeypatch.setenv("THREAD_ALFWORLD_URL", server.url)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def archive(tmp_path) -> bytes:
    """An archive as ALFWorld's release has it, with one generated game in each split."""
    file = tmp_path / "archive.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        for number, split in enumerate(("train", "valid_seen", "valid_unseen")):
            name = (
                f"json_2.1.1/{split}/{CATEGORIES[category_of(number)]}-A-None-B-{number}/trial_T{number}/game.tw-pddl"
            )
            opened.writestr(name, json.dumps({**generate(number), "solvable": True, "walkthrough": []}))
    return file.read_bytes()


def test_setup_brings_the_games_although_the_connection_breaks(serve, archive, tmp_path, monkeypatch):
    server = serve(archive, breaks=3)
    data = tmp_path / "data"
    monkeypatch.setenv("ALFWORLD_DATA", str(data))
    told: list[str] = []
    said = Alfworld.setup(told.append)
    assert said == f"ALFWorld's games are in {data}: 1 valid_unseen, 1 valid_seen, 1 train"
    assert server.asked[0] is None
    assert len(server.asked) == 4
    assert all(asked.startswith("bytes=") for asked in server.asked[1:])
    assert [line for line in told if "broke off" in line]
    assert {task.category for task in Alfworld().tasks("valid_seen")} == {"clean"}
    assert [path.name for path in data.iterdir()] == ["json_2.1.1"]


def test_setup_goes_on_where_an_earlier_one_stopped(serve, archive, tmp_path):
    server = serve(archive)
    half = len(archive) // 2
    (tmp_path / "data").mkdir()
    (tmp_path / "data/json_2.1.2_tw-pddl.zip.part").write_bytes(archive[:half])
    download(tmp_path / "data", lambda _: None)
    assert server.asked == [f"bytes={half}-"]
    assert len(game_files(tmp_path / "data")) == 3


@pytest.mark.parametrize("options", [{}, {"ranges": False}])
def test_a_part_that_is_whole_already_is_taken(serve, archive, tmp_path, options):
    serve(archive, **options)
    (tmp_path / "json_2.1.2_tw-pddl.zip.part").write_bytes(archive)
    download(tmp_path, lambda _: None)
    assert len(game_files(tmp_path)) == 3


def test_games_that_are_there_are_kept_beside_what_comes(serve, archive, tmp_path):
    serve(archive)
    mine = tmp_path / "json_2.1.1/train/mine/notes.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    download(tmp_path, lambda _: None)
    download(tmp_path, lambda _: None)
    assert mine.read_text() == "mine"
    assert len(game_files(tmp_path)) == 3


@pytest.mark.parametrize(
    "spoil", [lambda body: body[:-200], lambda body: body.replace(b"PK\x01\x02", b"PK\x00\x00"), lambda _: b"no"]
)
def test_a_damaged_archive_is_refused_and_removed(serve, archive, tmp_path, spoil):
    serve(spoil(archive))
    with pytest.raises(UserError, match="was damaged"):
        download(tmp_path / "data", lambda _: None)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_wrong_sum_is_refused(serve, archive, tmp_path):
    at = archive.index(b"game.tw-pddl") + 200
    serve(archive[:at] + bytes([archive[at] ^ 255]) + archive[at + 1 :])
    with pytest.raises(UserError, match="was damaged"):
        download(tmp_path / "data", lambda _: None)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_missing_archive_is_told_in_one_line(serve, archive, tmp_path):
    serve(archive, status=404)
    with pytest.raises(UserError, match="the server answers 404"):
        download(tmp_path, lambda _: None)


def test_a_server_that_cannot_be_reached_is_told_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("thread_envs.alfworld.download._PAUSE", 0.0)
    monkeypatch.setenv("THREAD_ALFWORLD_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"0 MB are kept in .*: run the command again"):
        download(tmp_path, lambda _: None)


def test_a_folder_that_cannot_be_written_is_told_in_one_line(serve, archive, tmp_path):
    serve(archive)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        download(tmp_path / "file" / "data", lambda _: None)
