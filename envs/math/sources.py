"""Where questions come from: the files of GSM8K and MATH-500, or any JSONL with questions and answers."""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from thread_cli.contracts.environment import Task
from thread_cli.contracts.errors import UserError
from thread_cli.distribution import at_home, cache_folder
from thread_cli.files import written_whole
from thread_envs.math.answers import gold_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["bring", "folder_of", "gsm8k", "math_500", "own"]

_GSM8K: Final = ("gsm8k_test.jsonl", "gsm8k.jsonl")
_MATH_500: Final = ("math500.jsonl", "math-500.jsonl", "math500.json", "npr_math500.json")
_URLS: Final = {
    _GSM8K[0]: "https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/data/test.jsonl",
    _MATH_500[0]: "https://huggingface.co/datasets/HuggingFaceH4/MATH-500/resolve/main/test.jsonl",
}
_MIRROR: Final = "THREAD_MATH_URL"
_TIMEOUT: Final = 60.0  # seconds without a byte
_STEP: Final = re.compile(r"<<([^<>=]+)=([^<>]*)>>")


def folder_of(data: str | None) -> Path:
    """The folder of the files: the option, else `math` in $THREAD_DATA, else `math` in the cache folder."""
    if data is not None:
        return at_home(Path(data))
    shared = os.environ.get("THREAD_DATA")
    if shared and Path(shared, "math").is_dir():
        return Path(shared, "math")
    return cache_folder() / "math"


def gsm8k(folder: Path) -> list[Task]:
    """GSM8K's test questions. Their category is the number of calculations in the solution.

    Raises:
        UserError: the file is missing, or something else.
    """
    return _gsm8k(_found(folder, _GSM8K, "GSM8K"))


def _gsm8k(path: Path) -> list[Task]:
    tasks: list[Task] = []
    for where, row in _rows(path):
        solution = _text(row, "answer", where)
        steps = [[left.strip(), right.strip()] for left, right in _STEP.findall(solution)]
        category = f"{len(steps)} step{'' if len(steps) == 1 else 's'}"
        data = {"answer": _gold(solution, "answer", where), "steps": steps}
        tasks.append(Task(f"gsm8k-{len(tasks)}", _text(row, "question", where), "gsm8k", category, data))
    return tasks


def math_500(folder: Path) -> list[Task]:
    """The questions of MATH-500. Their category is `Subject/level`; raises as `gsm8k`."""
    return _math_500(_found(folder, _MATH_500, "MATH-500"))


def _math_500(path: Path) -> list[Task]:
    tasks: list[Task] = []
    for where, row in _rows(path):
        category = f"{_text(row, 'subject', where)}/{_text(row, 'level', where)}"
        data = {"answer": _gold(_text(row, "answer", where), "answer", where), "unique_id": row.get("unique_id")}
        tasks.append(Task(f"math-500-{len(tasks)}", _text(row, "problem", where), "math-500", category, data))
    return tasks


def own(path: Path, question: str, answer: str, category: str | None) -> list[Task]:
    """The questions of a file of the user's, from columns of these names.

    Raises:
        UserError: the file cannot be read, is no JSONL or JSON list, or lacks a column in a line.
    """
    tasks: list[Task] = []
    for where, row in _rows(path):
        text, kind = _text(row, question, where), _text(row, category, where) if category else ""
        data = {"answer": _gold(_text(row, answer, where), answer, where)}
        tasks.append(Task(f"file-{len(tasks)}", text, "file", kind, data))
    return tasks


def bring(tell: Callable[[str], None]) -> str:
    """Download both sets to the cache folder, from $THREAD_MATH_URL or where their authors keep them.

    Raises:
        UserError: a server does not answer, sends something else, or the folder cannot be written.
    """
    folder = cache_folder() / "math"
    mirror = os.environ.get(_MIRROR)
    for name, address in _URLS.items():
        url = f"{mirror.rstrip('/')}/{name}" if mirror else address
        if (folder / name).exists():
            continue
        tell(f"downloading {url}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with written_whole(folder / name) as part:
                part.write_bytes(_fetched(url))
                (_gsm8k if name in _GSM8K else _math_500)(part)
        except OSError as error:
            raise UserError(f"math: {folder / name} cannot be written: {error.strerror or error}") from None
    sizes = len(gsm8k(folder)), len(math_500(folder))
    return f"{sizes[0]} questions of GSM8K and {sizes[1]} of MATH-500 in {folder}"


def _fetched(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310 - http or https
            return answer.read()
    except urllib.error.HTTPError as error:
        with error:
            raise UserError(f"{url}: the server answers {error.code} {error.reason}") from None
    except (HTTPException, urllib.error.URLError, TimeoutError, ConnectionError, ValueError) as error:
        raise UserError(f"{url}: {getattr(error, 'reason', None) or error}") from None


def _found(folder: Path, names: tuple[str, ...], title: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"math: no {names[0]} in {folder}: `thread envs setup math` brings {title}, "
        "-o options.data=FOLDER names another folder"
    )


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects of a JSONL file or a JSON list, each with its place as messages name it."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UserError(f"math: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"math: {path} is no UTF-8: {error.reason} at byte {error.start}") from None
    count = 0
    for where, row in _listed(path, text) if text.lstrip().startswith("[") else _lines(path, text):
        if not isinstance(row, dict):
            raise UserError(f"math: {where} is no object with a question and an answer")
        count += 1
        yield where, cast("Mapping[str, Any]", row)
    if not count:
        raise UserError(f"math: {path} has no questions")


def _listed(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    rows = _json(text, str(path))
    yield from ((f"{path}, item {number}", row) for number, row in enumerate(rows, 1))


def _lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path}, line {number}", _json(line, f"{path}, line {number}")


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"math: {where} is no JSON: {error}") from None
    except RecursionError:
        raise UserError(f"math: {where} is nested too deeply") from None


def _text(row: Mapping[str, Any], column: str, where: str) -> str:
    if column not in row:
        raise UserError(f"math: {where} has no column {column!r}; it has {', '.join(map(repr, row)) or 'none'}")
    value = row[column]
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or not str(value).strip():
        raise UserError(f"math: {where}: {column!r} is to be a text or a number, not {str(value)[:40]!r}")
    return str(value).strip()


def _gold(text: str, column: str, where: str) -> str:
    gold = gold_in(text)
    if not gold:
        raise UserError(f"math: {where}: {column!r} has no answer behind #### or in its box")
    return gold
