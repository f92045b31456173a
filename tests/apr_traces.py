"""Recorded traces of APR, as its generator writes them, and a model that answers from one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thread_cli.contracts.model import Request

START = "Moving to Node #0\nCurrent State: 60:[92, 98, 30], Operations: []"
GENERATED = """
Exploring Operation: 98-92=6, Resulting Numbers: [30, 6]
Generated Node #0,0: 60:[30, 6] Operation: 98-92=6
Exploring Operation: 92-30=62, Resulting Numbers: [98, 62]
Generated Node #0,1: 60:[98, 62] Operation: 92-30=62
"""
CALL = """<Calling Sub Searches>
<Start Sub Search 0 at level 1> Moving to Node #0,1
<Start Sub Search 1 at level 1> Moving to Node #0,0
<End Calling Sub Searches>
"""
CHILDREN = (
    "Moving to Node #0,1\nCurrent State: 60:[98, 62], Operations: ['92-30=62']",
    "Moving to Node #0,0\nCurrent State: 60:[30, 6], Operations: ['98-92=6']",
)


def traces(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each recorded trace of each file of traces, with a name."""
    for file in sorted(folder.glob("apr_traces*.json")):
        for number, problem in enumerate(json.loads(file.read_text("utf-8"))):
            yield f"{file.stem} {number}", problem["trace_dict"]


def context_of(trace: dict[str, Any]) -> str:
    """A trace's context: its first two lines."""
    return "\n".join(trace["main_calls"][0].split("\n")[:2])


class Recorded:
    """Answers as the threads of a trace did: a function for a scripted model, which keeps what it was asked."""

    def __init__(self, trace: dict[str, Any]) -> None:
        self.texts: dict[str, list[str]] = {}
        self.asked: dict[str, list[Request]] = {}
        self._take("0", trace)

    def _take(self, path: str, trace: dict[str, Any]) -> None:
        self.texts[path] = trace["main_calls"]
        children = [child for block in trace["sub_calls"] for child in block]
        for number, child in enumerate(children):
            self._take(f"{path}.{number}", child)

    def __call__(self, request: Request) -> str:
        asked = self.asked.setdefault(request.thread, [])
        asked.append(request)
        text, prompt = self.texts[request.thread][len(asked) - 1], request.c + request.y
        assert text.startswith(prompt), (request.thread, text, prompt)
        return text[len(prompt) :]
