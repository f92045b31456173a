"""What several test files need: small episodes through the real executor, task data, and what is to be closed again."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from benches import SCRIPT
from cases import TABLE
from cpython import expected
from games import extracted
from reported import Edit, Runs, rewritten_copy
from sessions import SMALL
from watching import Watch

from thread_cli.contracts.environment import Task
from thread_cli.engine.executor import Executor
from thread_cli.interpreters.monty import MontyInterpreter
from thread_cli.interpreters.session import SessionInterpreter
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.models.scripted import ScriptedModel
from thread_cli.protocols.prompt import Prompt, Rules
from thread_envs.alfworld import Alfworld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from thread_cli.contracts.events import Event
    from thread_cli.engine.episode import Episode


WATCHERS = """\
class Stops:
    def begin(self, episode):
        self.episode = episode
    def see(self, event):
        if event.kind == 'thread_started':
            self.episode.stop('seen', 'early')
    def hear(self, thread, piece): ...

class Prunes:
    episode = None
    def begin(self, episode):
        assert self.episode is None, 'it has watched another episode'
        self.episode = episode
    def see(self, event):
        if event.kind == 'generating' and event.thread != '0':
            self.episode.prune(event.thread, 'enough')
    def hear(self, thread, piece): ...
"""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than processors: some tests wait for processes, clocks or disks, and others compute meanwhile."""
    asked = os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS")
    if asked:
        return int(asked)
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) + 1


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Watch.of(config))


@dataclass
class Played:
    """An episode and its events."""

    episode: Episode
    events: list[Event] = field(default_factory=list)

    def of(self, kind: str, thread: str | None = None) -> list[Any]:
        return [e for e in self.events if e.kind == kind and thread in {None, e.thread}]

    def y(self, thread: str) -> str:
        """The thread's token sequence Y, put together from the events as their docstring says."""
        kinds = {"generated", "observed", "joined", "spawned", "corrected"}
        y = ""
        for event in self.events:
            if event.thread == thread and event.kind == "removed":
                y = y[: event.kept]
            elif event.thread == thread and event.kind in kinds:
                y += event.text
        return y


@pytest.fixture(scope="session")
def embedded_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded base model, in a cache folder of the tests' own."""
    from thread_cli.models.llama import embedded_model_path

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THREAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        return embedded_model_path(base=True)


@pytest.fixture
def script(tmp_path: Path) -> str:
    """A scripted model that answers every task of TextCraft alike."""
    path = tmp_path / "script.toml"
    path.write_text(SCRIPT)
    return f"scripted:{path}"


@pytest.fixture
def own_watchers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watchers of an installed package: one ends each episode, one prunes all children, one is broken."""
    (tmp_path / "own_watcher.py").write_text(WATCHERS)
    about = tmp_path / "own_watcher-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: own-watcher\nVersion: 1\n")
    points = ("stops = own_watcher:Stops", "prunes = own_watcher:Prunes", "broken = own_watcher:Nothing")
    (about / "entry_points.txt").write_text("\n".join(["[thread_cli.watchers]", *points, ""]))
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture
async def interpreter() -> AsyncIterator[MontyInterpreter]:
    opened = MontyInterpreter()
    yield opened
    await opened.close()


@pytest.fixture
def play(variables: VariableInterpreter) -> Callable[..., Any]:
    """Play a script: answers, roles or a function; rules of the prompt and arguments of the executor by keyword."""

    async def run(script: Any, text: str = "Do it.", *, rules: dict[str, Any] | None = None, **options: Any) -> Played:
        events: list[Event] = []
        model = script if hasattr(script, "complete") else ScriptedModel(script)
        prompt = Prompt("test", "Q", Rules(**{"phi": "last_line_after_comma", **(rules or {})}))
        options.setdefault("interpreter", variables)
        sinks = [events.append, *options.pop("sinks", [])]
        executor = Executor(model=model, prompt=prompt, sinks=sinks, **options)
        return Played(await executor.run(Task("t", text)), events)

    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium. Its driver has an event loop in this thread, in which no other one can run meanwhile."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    options = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # WebGL without a graphics card
    with driver.sync_playwright() as started:
        # Chromium's own sandbox does not work for root, who has nothing to lose in a container.
        options += ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = started.chromium.launch(executable_path=found, args=options)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def python() -> list[list[tuple[Any, Any]]]:
    """What the Python that runs the tests makes of all pieces of code (see `cases.py`)."""
    return expected(TABLE)


@pytest.fixture
async def variables() -> AsyncIterator[VariableInterpreter]:
    opened = VariableInterpreter()
    yield opened
    await opened.close()


@pytest.fixture
async def open_session() -> AsyncIterator[Callable[..., SessionInterpreter]]:
    """Makes interpreters for data analysis that are closed at the end."""
    made: list[SessionInterpreter] = []

    def open_one(*arguments: Any, **options: Any) -> SessionInterpreter:
        made.append(SessionInterpreter(*arguments, **{**SMALL, **options}))
        return made[-1]

    yield open_one
    for each in made:
        await each.close()


@pytest.fixture
async def analysis(open_session: Callable[..., SessionInterpreter]) -> SessionInterpreter:
    return open_session()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alfworld() -> AsyncIterator[Alfworld]:
    """ALFWorld in one process for all tests of a file, which `games.one_process` marks."""
    opened = Alfworld()
    yield opened
    await opened.close()


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key or address of an API in the environment."""
    for name in ("OPENAI_API_KEY", "THREAD_API_KEY", "OPENAI_BASE_URL", "OPENAI_LOG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def task_data() -> Path:
    """The folder of real task data; tests that need it are skipped where it is absent."""
    path = Path(os.environ.get("THREAD_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no task data at {path}: set THREAD_DATA")
    return path


@pytest.fixture(scope="session")
def shop_data(task_data: Path) -> str:
    """The folder with WebShop's files."""
    return str(task_data / "webshop")


@pytest.fixture(scope="session")
def mini(task_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of ALFWorld with one official game of each type."""
    return extracted(task_data, "mini", tmp_path_factory.mktemp("alfworld"))


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The folder of a bench run of a small suite by a model, played once by the command line."""
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def rewritten(tmp_path: Path) -> Callable[[Path, Edit], Path]:
    """A copy of a bench run in which results are changed."""
    return lambda run, edit: rewritten_copy(run, edit, tmp_path / f"copy-{len(list(tmp_path.iterdir()))}")
