"""What `embedded` names: the packaged base model, made a specialist by the adapter that is shipped with it.

Where no adapter is shipped, `embedded` is the base model, as `embedded:base` always is.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

__all__ = ["BASE", "EMBEDDED", "TRAINED_FOR", "specialist", "specialist_digest", "unfamiliar"]

EMBEDDED: Final = "embedded"
"""Specification of the specialist."""
BASE: Final = "embedded:base"
"""Specification of the base model, without the adapter."""
TRAINED_FOR: Final = ("textcraft", "alfworld")
"""The environments that the specialist was trained for; it knows no other."""
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


def unfamiliar(spec: str, environment: str) -> str:
    """A line for people where a model was not made for an environment; empty where it was, or may well be."""
    if spec != EMBEDDED or environment in TRAINED_FOR or specialist() is None:
        return ""
    about = "free text" if environment == "none" else environment
    return (
        f"the model embedded was trained for {' and '.join(TRAINED_FOR)} alone and knows nothing of {about}: "
        "name a general one, such as --model llama:hf:Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF:Q8_0 or openai:NAME"
    )
