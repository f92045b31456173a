"""The catalogue files: which ones belong together, and reading them entry by entry, since the full one has 5 GB."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from thread_cli.contracts.errors import UserError
from thread_cli.distribution import at_home

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Files", "entries", "find_files"]

_CHUNK: Final = 1 << 20
_BLANK: Final = re.compile(r"[\s,:]*")


@dataclass(frozen=True)
class Files:
    """The files of one catalogue. There may be no instructions written by people."""

    products: Path
    attributes: Path
    human: Path | None

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(self.sizes.values())

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each, by name."""
        return {path.name: path.stat().st_size for path in self._all()}

    @property
    def key(self) -> str:
        """A name for the present contents, judged by names, sizes and times of change."""
        facts = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in self._all()]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:20]

    def _all(self) -> list[Path]:
        return [path for path in (self.products, self.attributes, self.human) if path is not None]


def find_files(data: str) -> Files:
    """The files in a folder, or those that belong to a products file.

    They go by WebShop's names: `items_shuffle*.json`, `items_ins*.json`, `items_human_ins*.json`. Where a folder has
    several products files, the largest is meant; the attributes are those of as many products, as the names tell.

    Raises:
        UserError: a file is missing.
    """
    path = at_home(Path(data))
    folder = path.parent if path.is_file() else path
    products = path if path.is_file() else _largest(folder, "items_shuffle*.json")
    if products is None:
        raise UserError(
            f"webshop: no items_shuffle*.json in {path}: name the folder of WebShop's data, or a products file"
        )
    count = re.search(r"_(\d+)\b", products.name)
    attributes = _largest(folder, f"items_ins*_{count[1]}*.json") if count else None
    attributes = attributes or _largest(folder, "items_ins*.json")
    if attributes is None:
        raise UserError(f"webshop: no items_ins*.json beside {products}: download it with WebShop's setup script")
    return Files(products, attributes, _largest(folder, "items_human_ins*.json"))


def _largest(folder: Path, pattern: str) -> Path | None:
    return max(sorted(folder.glob(pattern)), key=lambda path: path.stat().st_size, default=None)


def entries(path: Path) -> Iterator[tuple[str, Any]]:
    """The entries of the JSON array or object in a file, in their order: keys (empty in an array) and values.

    Raises:
        UserError: the file cannot be read, or is neither.
    """
    try:
        with path.open(encoding="utf-8") as file:
            yield from _Reader(file.read).entries()
    except OSError as error:
        raise UserError(f"webshop: {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"webshop: {path} is no JSON file of WebShop's: {error}") from None


class _Reader:
    """Decodes JSON from a text that comes in pieces."""

    def __init__(self, read: Any) -> None:
        self._read = read
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._at = 0

    def entries(self) -> Iterator[tuple[str, Any]]:
        opening = self._next_sign()
        if opening not in {"[", "{"}:
            raise ValueError("it holds neither an array nor an object")
        self._at += 1
        while self._next_sign() not in {"]", "}", ""}:
            key = str(self._value()) if opening == "{" else ""
            yield key, self._value()
        if not self._next_sign():
            raise ValueError("it ends too early")

    def _next_sign(self) -> str:
        while True:
            found = _BLANK.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _value(self) -> Any:
        self._next_sign()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except ValueError:
                if not self._more():
                    raise
                continue
            self._at = end
            return value

    def _more(self) -> bool:
        piece = self._read(_CHUNK)
        self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)
