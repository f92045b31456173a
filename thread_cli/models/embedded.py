"""The model named `embedded`: the packaged base model, made a specialist by the adapter that is shipped with it.

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
    """The file of the specialist's adapter; None if none is shipped."""
    return _ADAPTER if _ADAPTER.is_file() else None


def specialist_digest(spec: str) -> str:
    """Digest of the specialist's adapter, 16 hexadecimal digits; empty if `spec` does not name the specialist."""
    adapter = specialist()
    if spec != EMBEDDED or adapter is None:
        return ""
    with adapter.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def unfamiliar(spec: str, environment: str) -> str:
    """A line for people if a model was not trained for an environment; empty if it was, or may have been."""
    if spec != EMBEDDED or environment in TRAINED_FOR or specialist() is None:
        return ""
    about = "free text" if environment == "none" else environment
    return (
        f"the model embedded was trained for {' and '.join(TRAINED_FOR)} alone and knows nothing of {about}: "
        "name a general one, such as --model llama:hf:Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF:Q8_0 or openai:NAME"
    )
