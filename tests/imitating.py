"""A model that does what the examples of a few-shot prompt show, and nothing else.

It holds a prompt and its environment together: where the examples are wrong about the environment, or do not show what
follows an answer that the environment gives, threads that imitate them do not get there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from thread_cli.models.teacher import Course, Teacher

_BLOCK = re.compile(r"\n{6}Prompt:\n(.*?)\n{3}Response:\n#START#\n(.*?)#END#(?=\n{6}|\Z)", re.DOTALL)
_FEEDBACK = re.compile(r"=>(.*?)<=\n\n", re.DOTALL)


class NotShown(Exception):
    """No example shows what a thread writes here."""


class Imitator(Teacher):
    """Writes what the examples write, with the words of the thread at hand in place of theirs.

    Args:
        q: the prompt.
        words: all words of the examples that another thread would have others for, as patterns.
        kinds: patterns that tell answers apart, the first that fits counts; answers that fit none are alike.
        known: the words of the examples' main threads, each with that of the task at hand, where Python cannot read them
            off the task's text; `main` finds main threads.
    """

    def __init__(
        self,
        q: str,
        words: Sequence[str],
        kinds: Sequence[str] = (),
        known: Mapping[str, str] | None = None,
        main: str = "(?!)",
    ) -> None:
        self._word = re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)")
        self._kinds, self._known, self._main = kinds, known or {}, main
        self._examples = [
            (context, _FEEDBACK.sub("=>", y).split("=>"), _FEEDBACK.findall(y)) for context, y in _BLOCK.findall(q)
        ]

    def solve(self, context: str) -> Course:
        turns: dict[tuple[str | int, ...], str] = {}
        for shown, written, answers in self._examples:
            values = self._values(shown, context)
            if values is None:
                continue
            texts = [self._with(text, values) for text in written]
            for place, text in enumerate(texts):
                before = texts[max(0, place - 2) : place]
                turns.setdefault((*before, self._kind(answers[place - 1]) if place else 0), text)
        return self._follow_turns(context, turns)

    def _follow_turns(self, context: str, turns: Mapping[tuple[str | int, ...], str]) -> Course:
        written: list[str] = []
        kind = 0
        while True:
            text = turns.get((*written[-2:], kind))
            if text is None:
                raise NotShown(f"in {context!r} after {written[-2:]}, {kind}")
            if text.endswith("\n"):
                return text
            written.append(text)
            kind = self._kind((yield text).text)

    def _kind(self, answer: str) -> int:
        return next((place for place, kind in enumerate(self._kinds, 1) if re.search(kind, answer)), 0)

    def _values(self, shown: str, context: str) -> Mapping[str, str] | None:
        """The words of an example, each with that of a thread; None where the thread is of another kind."""
        if re.search(self._main, shown) or re.search(self._main, context):
            return self._known if re.search(self._main, shown) and re.search(self._main, context) else None
        found: dict[str, str] = {}

        def group(word: re.Match[str]) -> str:
            if word[0] in found:
                return f"(?P={found[word[0]]})"
            found[word[0]] = f"w{len(found)}"
            return f"(?P<{found[word[0]]}>.+?)"

        pattern, end = "", 0
        for word in self._word.finditer(shown):
            pattern += re.escape(shown[end : word.start()]) + group(word)
            end = word.end()
        pattern += re.escape(shown[end:])
        match = re.fullmatch(pattern, context)
        return match and {word: match[name] for word, name in found.items()}

    def _with(self, text: str, values: Mapping[str, str]) -> str:
        return self._word.sub(lambda word: values.get(word[0], word[0]), text)
