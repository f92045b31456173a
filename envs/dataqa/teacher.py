"""What both teachers do alike: read a question by its template, and every other context by a pattern."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from thread_cli.models.teacher import Course, Teacher
from thread_envs.dataqa.comparing import said
from thread_envs.dataqa.questions import read

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Mapping, Sequence

    from thread_envs.dataqa.questions import Template

__all__ = ["QuestionTeacher"]


class QuestionTeacher(Teacher):
    """Answers as the threads of a prompt do, and knows no more than they."""

    about: ClassVar[str]
    """What its questions are about, in words."""
    question: ClassVar[re.Pattern[str]]
    """The context of a main thread, with the group `question`."""
    templates: ClassVar[Sequence[Template]]
    courses: ClassVar[Sequence[tuple[re.Pattern[str], Callable[[re.Match[str]], Course]]]]
    """Patterns of the other contexts, and the courses of their threads; the first that fits counts."""

    @abstractmethod
    def main(self, template: Template, values: Mapping[str, str]) -> Course:
        """The course of a main thread, from the template of its question and the values of the places."""

    def solve(self, context: str) -> Course:
        if (asked := self.question.match(context)) and (found := read(asked["question"], self.templates)):
            return self.main(*found)
        for pattern, course in self.courses:
            if match := pattern.match(context):
                return course(match)
        return said(f"this is no question about {self.about}")
