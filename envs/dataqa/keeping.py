"""Answers that took long, kept in files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from thread_cli.contracts.errors import UserError
from thread_cli.files import written_whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
        with written_whole(file) as part:
            part.write_text(json.dumps(made), "utf-8")
    except OSError as error:
        raise UserError(
            f"{file.parent} cannot be written: {error.strerror}; set THREAD_CACHE to another folder"
        ) from None
    return made
