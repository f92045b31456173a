"""The API reference has all public names, and their docstrings name parameters and exceptions that exist."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import reference  # noqa: E402

WRONG = '''"""A module."""
__all__ = ["LIMIT", "Missing", "Wrong", "silent", "untrue"]

LIMIT = 3
OTHER = 4
"""Not public."""

class Missing:
    pass

class Wrong:
    """Has fields and a method.

    Args:
        field: it is there.
        given: so is this.
        gone: this is not.
    """

    field: int

    def __init__(self, given: int) -> None: ...

    def leave(self, *paths: str) -> None:
        """Go.

        Args:
            paths: any,
                such as: these.
            door: there is none.

        Raises:
            OSError: one of Python's.
            asyncio.CancelledError: one of a module's.
            Broken: one of the package's.
            Mended: none.
        """

def silent() -> None: ...

async def untrue() -> None:
    """Do something.

    Raises:
        Nothing: where nothing is wrong.
    """
'''


def test_every_public_name_of_ours_has_a_docstring_that_names_what_exists() -> None:
    house = ROOT / "thread_cli"
    paths = [reference.source_of(name, house) for name in reference.modules(house)]
    assert len(paths) > 60
    assert reference.problems(paths, house) == []


def test_missing_docstrings_and_made_up_names_are_found(tmp_path) -> None:
    (tmp_path / "errors.py").write_text("class Failed(ValueError): ...\nclass Broken(Failed): ...\nclass Mended: ...\n")
    wrong = tmp_path / "wrong.py"
    wrong.write_text(WRONG)
    empty = tmp_path / "empty.py"
    empty.touch()

    assert reference.problems([wrong, empty], tmp_path) == [
        f"{wrong}:4: `LIMIT` is in `__all__` and has no docstring",
        f"{wrong}:8: `Missing` is in `__all__` and has no docstring",
        f"{wrong}:11: `Args:` of `Wrong` names `gone`, which is no parameter",
        f"{wrong}:24: `Args:` of `leave` names `door`, which is no parameter",
        f"{wrong}:24: `Raises:` of `leave` names `Mended`, which is no exception",
        f"{wrong}:39: `silent` is in `__all__` and has no docstring",
        f"{wrong}:41: `Raises:` of `untrue` names `Nothing`, which is no exception",
        f"{empty}:1: the module has no docstring",
    ]


def test_pages_show_the_docstrings_and_warnings_of_pdoc_are_returned(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "referred"
    package.mkdir()
    (package / "__init__.py").write_text('"""A package."""\n__all__ = []\n')
    (package / "inside.py").write_text(
        '"""A module of it."""\n\nfrom __future__ import annotations\n\n__all__ = ["turn"]\n\n\n'
        'def turn(key: Key) -> None:\n    """Turn a key."""\n'
    )
    pages = tmp_path / "pages"

    (warned,) = reference.build(["referred", "referred.inside"], pages)
    assert "name 'Key' is not defined" in warned
    assert "Turn a key." in (pages / "referred" / "inside.html").read_text()
    assert "referred/inside.html" in (pages / "referred.html").read_text()
    assert "Turn a key." in (pages / "search.js").read_text()
