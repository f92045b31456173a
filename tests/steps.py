"""Events made by hand, from a short text each."""

from __future__ import annotations

import json
from typing import Any

from thread_cli.record.lines import parse_event

USAGE = dict.fromkeys(("prompt_tokens", "cached_tokens", "repeated_tokens", "seconds", "waited"), 0)


def made(*steps: str, spacing: float = 1, **usage: Any) -> list[Any]:
    """Events, `spacing` seconds apart: `0 + 10` generates tokens, `0 & 0.0 0.1` joins, and so on, as the code says.

    `usage` is added to each `generated` event.
    """
    events = []
    for n, step in enumerate(steps):
        thread, sign, *rest = step.split()
        parent = thread.rpartition(".")[0] or None
        common = {"episode": "e", "n": n, "thread": thread, "parent": parent, "cause": n - 1 if n else None}
        match sign:
            case "[":
                told = {"kind": "episode_started", "environment": "none", "task": "t", "at": "2026-01-01T00:00:00Z"}
            case "(":
                told = {"kind": "thread_started", "depth": thread.count("."), "context": f"do {thread}"}
            case ")":
                told = {"kind": "thread_ended", "result": "r", "failed": rest != [], "how": (rest or ["returned"])[0]}
            case ".":
                told = {"kind": "generating"}
            case "+":
                told = {"kind": "generated", "text": "t", "stop": "end", "cost": None, "retries": 0, **USAGE, **usage}
                told["generated_tokens"] = int(rest[0])
            case "!":
                told = {"kind": "acted", "action": "> look"}
            case "^":
                told = {"kind": "observed", "observation": "o", "text": "=>o<=", "reward": 0, "done": False}
                told["seconds"] = spacing
            case "x":
                told = {"kind": "failed", "boundary": "model", "failure": "server failed", "message": "500"}
                told["generated_tokens"] = int((rest or ["0"])[0])
            case "<" | "<<":
                later = {"waits": False, "text": "handles"} if sign == "<<" else {}
                told = {"kind": "spawned", "children": rest, **later}
            case "?" | "*":
                told = {"kind": "awaiting", "children": rest, "which": "any" if sign == "?" else "all"}
            case "&":
                told = {"kind": "joined", "children": rest, "text": "j"}
        events.append(parse_event(json.dumps(common | {"time": n * spacing} | told)))
    return events


def fork(parent: str, *tokens: int) -> tuple[str, ...]:
    """The steps of a fork: children that generate so many tokens each, at once, and join."""
    children = [f"{parent}.{place}" for place in range(len(tokens))]
    return (
        f"{parent} < {' '.join(children)}",
        *(f"{child} (" for child in children),
        *(f"{child} ." for child in children),
        *(f"{child} + {count}" for child, count in zip(children, tokens, strict=True)),
        *(f"{child} )" for child in children),
        f"{parent} & {' '.join(children)}",
    )
