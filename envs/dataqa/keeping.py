"""Answers that took long, kept in files."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thread_cli.contracts.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["kept"]


def kept(file: Path, make: Callable[[], Any]) -> Any:
    """What `file` holds as JSON; where it holds none, what `make` returns, written there for the next time.

    Raises:
        UserError: it cannot be written. What `make` raises comes through.
    """
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        made = make()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as written:
            json.dump(made, written)
        Path(written.name).replace(file)
    except OSError as error:
        raise UserError(
            f"{file.parent} cannot be written: {error.strerror}; set THREAD_CACHE to another folder"
        ) from None
    return made
