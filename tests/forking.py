"""Texts in fork-join formats, and a scripted model that writes a whole text piece by piece, as the engine asks for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from thread_cli.contracts.model import Request

WEAVER: dict[str, Any] = {"protocol": "weaver", "start": "<think>", "psi": "answer"}
NPR: dict[str, Any] = {"protocol": "npr", "psi": "answer:after=</takeaway>"}


def outlines(*texts: str, ids: Sequence[str] | None = None) -> str:
    """A list of outlines, without the tag that ends it."""
    numbers = ids or [str(n) for n in range(1, len(texts) + 1)]
    return "<Outlines>\n" + "".join(f"<Outline>{n}: {text}</Outline>\n" for n, text in zip(numbers, texts, strict=True))


def weaver_block(*threads: str) -> str:
    """A block as the released engine and a model that keeps to the format write it together."""
    joined = "".join(f"<Thread>\n{n}:{text}</Thread>" for n, text in enumerate(threads, 1))
    return (
        f"<Parallel>\n{outlines(*(f'part {n}' for n in range(1, len(threads) + 1)))}</Outlines>\n{joined}\n</Parallel>"
    )


def paper_block(*threads: str) -> str:
    """A block as the paper's engine and a model write it together: each thread on a line of its own."""
    joined = "".join(f"\n<Thread> {n}:{text}</Thread>" for n, text in enumerate(threads, 1))
    return f"{weaver_block(*threads).partition('</Outlines>')[0]}</Outlines>{joined}\n</Parallel>\n"


def npr_block(*steps: str) -> str:
    """The same for NPR."""
    plans = "".join(f"<plan>{n}: part {n}</plan>\n" for n in range(1, len(steps) + 1))
    joined = "".join(f"\n<step>\n{n}:{text}</step>" for n, text in enumerate(steps, 1))
    return f"<guideline>\n{plans}</guideline>{joined}<takeaway>\nall of it</takeaway>"


class Recites:
    """A script: it goes on with a text that its thread has come to, wherever it stands in it.

    Args:
        texts: for each thread, all that its Y is to become; the engine's part included.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts, self.asked = texts, list[Request]()

    def __call__(self, request: Request) -> str:
        self.asked.append(request)
        text = self.texts[request.thread]
        at = max((n for n in range(len(text) + 1) if request.y.endswith(text[:n])), default=0)
        return text[at:]


def recited(text: str, branch: str) -> Recites:
    """A script in which the main thread's Y becomes `text`, and its children write the branches that stand there."""
    bodies = re.findall(rf"<{branch}>\s?\d+:(.*?</{branch}>)", text, re.DOTALL)
    return Recites({"0": text} | {f"0.{n}": body for n, body in enumerate(bodies)})
