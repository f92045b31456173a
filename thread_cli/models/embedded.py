"""What `embedded` names: the packaged base model, made a specialist by the adapter that is shipped with it.

Where no adapter is shipped, `embedded` is the base model, as `embedded:base` always is.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

__all__ = ["BASE", "EMBEDDED", "specialist", "specialist_digest"]

EMBEDDED: Final = "embedded"
BASE: Final = "embedded:base"
_ADAPTER = Path(__file__).parent / "specialist" / "adapter.gguf"


def specialist() -> Path | None:
    """The adapter that makes the specialist of the base model; None where none is shipped."""
    return _ADAPTER if _ADAPTER.is_file() else None


def specialist_digest(spec: str) -> str:
    """16 hexadecimal digits that tell specialists apart; nothing where `spec` does not name one."""
    adapter = specialist()
    if spec != EMBEDDED or adapter is None:
        return ""
    with adapter.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
