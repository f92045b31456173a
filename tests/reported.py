"""Bench runs for the tests of reports: a small suite, played by the command line, and copies with other results."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import thread

from thread_cli.bench import Result

SUITE = """
description = "a few goals"
[[parts]]
environment = "textcraft"
split = "test"
tasks = 12
[[published]]
method = "THREAD"
model = "GPT-3.5"
success = 93.5
tasks = 200
source = "arXiv 2405.17402v2"
"""

HOSTILE = "<img src=x onerror=window.stolen=1></script><script>window.stolen=1</script>\x1b[31m\u202e&amp;"

Edit = Callable[[Result], dict[str, Any]]


class Runs:
    """Runs of the small suite in a folder, each played once."""

    def __init__(self, home: Path) -> None:
        self._home = home
        (home / "few.toml").write_text(SUITE)
        (home / "hostile.toml").write_text(
            f'[[thread]]\npath = "0"\ntext = """ask {json.dumps(HOSTILE)[1:-1]} =>\n> {json.dumps(HOSTILE)[1:-1]} =>\n"""\n'
            f'[[thread]]\ntext = """print({json.dumps(json.dumps(HOSTILE))[1:-1]})"""\n'
        )

    def __call__(self, model: str) -> Path:
        """The folder of a run by a model."""
        folder = self._home / hashlib.sha256(model.encode()).hexdigest()[:8]
        if not folder.exists():
            done = thread(
                "bench", "few.toml", "--model", model, "--log", str(folder), "--display", "none", cwd=self._home
            )
            assert done.returncode == 0, done.stderr
        return folder


def rewritten_copy(run: Path, edit: Edit, copy: Path) -> Path:
    """A copy of a run in which results are changed."""
    shutil.copytree(run, copy)
    for file in sorted((copy / "results").iterdir(), reverse=True):
        result = Result.model_validate_json(file.read_bytes())
        result = Result.model_validate(result.model_dump() | edit(result))
        file.unlink()
        (copy / "results" / f"{result.key}.json").write_text(result.model_dump_json())
    return copy
