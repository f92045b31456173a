"""A catalogue: its products, its search engine, its goals. Small ones live in memory, large ones on disk.

What WebShop keeps in Python objects (some 30 GB for all 1.18 million products) is put into an SQLite file and an index
that is mapped into memory, built once per set of files into the cache folder. Both kinds go through the same building.
"""

from __future__ import annotations

import atexit
import json
import logging
import random
import shutil
import sqlite3
import tempfile
from array import array
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from thread_cli.contracts.errors import UserError
from thread_cli.distribution import cache_folder
from thread_envs.webshop import generated
from thread_envs.webshop.files import Files, entries, find_files
from thread_envs.webshop.products import (
    SEED,
    Goal,
    Product,
    combinations,
    human_goal,
    order,
    price_limit,
    read_product,
    synthetic_goal,
)
from thread_envs.webshop.search import Index, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["KINDS", "Catalogue", "Kind", "open_catalogue"]

Kind = Literal["human", "synthetic"]
KINDS: Final[tuple[Kind, ...]] = ("human", "synthetic")
_IN_MEMORY: Final = 64_000_000  # bytes of files up to which a catalogue is built in memory
_FORMAT: Final = 1
_TABLES: Final = """
CREATE TABLE attributes (asin TEXT PRIMARY KEY, data TEXT) WITHOUT ROWID;
CREATE TABLE products (number INTEGER PRIMARY KEY, asin TEXT UNIQUE, data TEXT);
CREATE TABLE terms (term TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID;
CREATE TABLE goals (kind TEXT, first INTEGER, product INTEGER, ceiling REAL, data TEXT, PRIMARY KEY (kind, first))
    WITHOUT ROWID;
CREATE TABLE counts (kind TEXT PRIMARY KEY, goals INTEGER);
"""
_log: Final = logging.getLogger(__name__)


class Catalogue:
    """The products, goals and search engine made from one set of files."""

    def __init__(self, rows: sqlite3.Connection, index: Index, orders: Mapping[str, Sequence[int]]) -> None:
        self._rows = rows
        self._index = index
        self._orders = orders
        self.product = lru_cache(maxsize=1000)(self._product)
        self.search = lru_cache(maxsize=200)(self._search)
        atexit.register(rows.close)

    def __len__(self) -> int:
        """The number of products."""
        return self._rows.execute("SELECT count(*) FROM products").fetchone()[0]

    def count(self, kind: Kind) -> int:
        """The number of goals."""
        return len(self._orders[kind])

    def goal(self, kind: Kind, number: int) -> Goal:
        """Goal `number` in the order in which WebShop serves them."""
        place = int(self._orders[kind][number])
        first, data, ceiling, product = self._rows.execute(
            "SELECT first, goals.data, ceiling, products.data FROM goals JOIN products ON product = products.number "
            "WHERE kind = ? AND first <= ? ORDER BY first DESC LIMIT 1",
            (kind, place),
        ).fetchone()
        source, goods = json.loads(data), Product.load(product)
        if kind == "human":
            return human_goal(goods, source, ceiling)
        return synthetic_goal(goods, source, ceiling, place - first)

    def _product(self, asin: str) -> Product | None:
        row = self._rows.execute("SELECT data FROM products WHERE asin = ?", (asin,)).fetchone()
        return Product.load(row[0]) if row else None

    def _search(self, query: str) -> tuple[str, ...]:
        """The products that a search finds, best first."""
        select = "SELECT asin FROM products WHERE number = ?"
        return tuple(self._rows.execute(select, (number,)).fetchone()[0] for number in self._index.search(query))


def open_catalogue(data: str | None) -> Catalogue:
    """The catalogue in a folder, or the embedded one; made once per process.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    if data is None:
        return _embedded()
    files = find_files(data)
    return _in_memory(files, files.key) if files.size <= _IN_MEMORY else _on_disk(files, files.key)


@cache
def _embedded() -> Catalogue:
    made = generated.generate()
    return _built(made.products, made.attributes.items(), made.human)


@cache
def _in_memory(files: Files, key: str) -> Catalogue:  # noqa: ARG001
    products = (product for _, product in entries(files.products))
    return _built(products, entries(files.attributes), _human(files))


def _built(
    products: Iterable[Mapping[str, Any]], attributes: Iterable[tuple[str, Any]], human: Mapping[str, Any]
) -> Catalogue:
    rows = sqlite3.connect(":memory:", check_same_thread=False)
    index = _build(rows, products, attributes, human)
    return Catalogue(rows, index, {kind: order(count) for kind, count in _counts(rows)})


@cache
def _on_disk(files: Files, key: str) -> Catalogue:
    folder = cache_folder().resolve() / "webshop" / f"{key}-{_FORMAT}"
    if not folder.is_dir():
        _build_folder(files, folder)
    rows = sqlite3.connect(f"{(folder / 'rows.sqlite').as_uri()}?mode=ro", uri=True, check_same_thread=False)
    count = rows.execute("SELECT count(*) FROM products").fetchone()[0]
    term = "SELECT number FROM terms WHERE term = ?"
    index = Index.open(folder, count, lambda word: (rows.execute(term, (word,)).fetchone() or (None,))[0])
    import numpy as np

    return Catalogue(rows, index, {kind: np.load(folder / f"{kind}.npy", mmap_mode="r") for kind in KINDS})


def _build_folder(files: Files, folder: Path) -> None:
    import numpy as np

    _log.warning("webshop: building an index of %s once (minutes; kept in %s)", files.products, folder)
    part = folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        rows = sqlite3.connect(part / "rows.sqlite")
        rows.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
        products = (product for _, product in entries(files.products))
        _build(rows, products, entries(files.attributes), _human(files)).save(part)
        for kind, count in _counts(rows):
            np.save(part / f"{kind}.npy", np.array(order(count), np.int32))
        rows.commit()
        rows.close()
        part.rename(folder)
    except (OSError, sqlite3.Error) as error:
        # Somebody else may have finished it in the meantime.
        if not folder.is_dir():
            raise UserError(f"webshop: the index cannot be built in {folder.parent}: {error}") from error
    finally:
        if part != folder:
            shutil.rmtree(part, ignore_errors=True)


def _human(files: Files) -> Mapping[str, Any]:
    return dict(entries(files.human)) if files.human else {}


def _counts(rows: sqlite3.Connection) -> list[tuple[str, int]]:
    return rows.execute("SELECT kind, goals FROM counts").fetchall()


def _build(
    rows: sqlite3.Connection,
    products: Iterable[Mapping[str, Any]],
    attributes: Iterable[tuple[str, Any]],
    human: Mapping[str, Any],
) -> Index:
    """Fill the tables and index the products."""
    rows.executescript(_TABLES)
    rows.executemany("INSERT OR REPLACE INTO attributes VALUES (?, ?)", ((k, json.dumps(v)) for k, v in attributes))
    builder = _Builder(rows, human)
    for number, raw in enumerate(products):
        try:
            builder.add(raw)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"webshop: product {number} is not in WebShop's format ({reason})") from error
    if not builder.documents:
        raise UserError("webshop: the products file holds no products")
    if not builder.finish():
        raise UserError("webshop: no product has an instruction: are these the attributes of these products?")
    return Index.build(builder.documents, builder.vocabulary)


class _Builder:
    """Takes in the products one by one."""

    def __init__(self, rows: sqlite3.Connection, human: Mapping[str, Any]) -> None:
        self._rows = rows
        self._human = human
        self._rng = random.Random(SEED)
        self._asins: set[str] = set()
        self._goals = dict.fromkeys(KINDS, 0)
        self.documents: list[array[int]] = []
        self.vocabulary: dict[str, int] = {}

    def add(self, raw: Mapping[str, Any]) -> None:
        """Take in an entry of the products file."""
        asin = str(raw.get("asin"))
        if asin in self._asins:
            return
        row = self._rows.execute("SELECT data FROM attributes WHERE asin = ?", (asin,)).fetchone()
        about: Mapping[str, Any] = json.loads(row[0]) if row else {}
        product = read_product(raw, about.get("attributes"), self._rng)
        if product is None:
            return
        self._asins.add(asin)
        number = len(self.documents)
        self._rows.execute("INSERT INTO products VALUES (?, ?, ?)", (number, asin, product.dump()))
        known = self.vocabulary
        self.documents.append(array("i", [known.setdefault(word, len(known)) for word in words(product.searched)]))
        for source in self._human.get(asin, ()):
            if source["instruction_attributes"]:
                human_goal(product, source, 0.0)
                self._add_goals("human", number, product.price, source, 1)
        if about.get("instruction") is not None and (count := combinations(product.options)):
            synthetic_goal(product, about, 0.0, 0)
            self._add_goals("synthetic", number, product.price, about, count)
        if number and number % 100_000 == 0:
            _log.warning("webshop: %s products read", f"{number:,}")

    def _add_goals(self, kind: Kind, product: int, price: float, source: Mapping[str, Any], count: int) -> None:
        kept = {name: source[name] for name in source if name.startswith("instruction")}
        row = (kind, self._goals[kind], product, price, json.dumps(kept))
        self._rows.execute("INSERT INTO goals VALUES (?, ?, ?, ?, ?)", row)
        self._goals[kind] += count

    def finish(self) -> int:
        """Draw the goals' price limits, which WebShop does once it has all prices; returns the number of goals."""
        state = self._rng.getstate()
        for kind in KINDS:
            self._rng.setstate(state)
            self._rows.executemany(
                "UPDATE goals SET ceiling = ? WHERE kind = ? AND first = ?", list(self._limits(kind))
            )
        self._rows.executemany("INSERT INTO counts VALUES (?, ?)", self._goals.items())
        self._rows.executemany("INSERT INTO terms VALUES (?, ?)", self.vocabulary.items())
        self._rows.execute("DROP TABLE attributes")
        return sum(self._goals.values())

    def _limits(self, kind: Kind) -> Iterator[tuple[float, Kind, int]]:
        found = self._rows.execute("SELECT ceiling, first FROM goals WHERE kind = ? ORDER BY first", (kind,))
        for price, first in found:
            yield price_limit(price, self._rng), kind, first
