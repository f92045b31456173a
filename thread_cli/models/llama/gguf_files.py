"""GGUF files as the package `gguf` reads them, with errors that people can read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gguf

from thread_cli.contracts.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["field", "opened"]


def opened(path: Path, what: str) -> gguf.GGUFReader:
    """A file of a `what`: a model or an adapter.

    Raises:
        UserError: there is no such file, it cannot be read, or it is no whole GGUF file.
    """
    try:
        return gguf.GGUFReader(path)
    except FileNotFoundError:
        raise UserError(f"{what} file {str(path)!r} does not exist") from None
    except OSError as error:
        raise UserError(f"{what} file {str(path)!r} cannot be read: {error.strerror or error}") from None
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        # It checks little: what is cut or broken ends in one of these.
        raise UserError(f"{what} file {str(path)!r} is not a whole GGUF file: {error}") from None


def field(reader: gguf.GGUFReader, key: str, default: Any = None) -> Any:
    """What a file says under a key."""
    found = reader.get_field(key)
    return default if found is None else found.contents()
