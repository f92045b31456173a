"""Question answering over stays in intensive care, in the layout of mimic3-benchmarks (MIMIC-III ICU QA).

This module decides where the data come from. The questions are in `icu_questions`.
"""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from thread_cli.contracts.interpreter import HostError, Workspace
from thread_cli.distribution import at_home
from thread_envs.dataqa.adapter import DataQA, helpers
from thread_envs.dataqa.icu_generated import generated_folder
from thread_envs.dataqa.icu_questions import questions
from thread_envs.dataqa.icu_stays import VARIABLES, Stays, column_of
from thread_envs.dataqa.icu_teacher import ICUTeacher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thread_cli.contracts.environment import Task
    from thread_envs.dataqa.questions import Question

__all__ = ["ICU"]


class ICU(DataQA):
    """Questions over the first 48 hours of patients in intensive care; made-up patients where no data are named.

    Args:
        data: a mimic3-benchmarks folder, see `icu_stays`.
        seed: changes nothing. The questions of given data are always the same.
    """

    splits: ClassVar[Mapping[str, str]] = {
        "test": "160 questions, the number of the published set; the paper's kinds in turn",
        "dev": "60 other questions, for demonstrations and training",
    }
    requires: ClassVar[Sequence[str]] = ("cloudpickle", "numpy", "pandas", "scipy")
    paths: ClassVar[Sequence[str]] = ("data",)
    _name = "dataqa/icu"
    _sizes: ClassVar[Mapping[str, int]] = {"test": 160, "dev": 60}
    _opening = "MIMIC QUESTION"

    def __init__(self, *, data: str | None = None, seed: int = 0) -> None:
        super().__init__(seed)
        self._data = data

    def workspace(self, task: Task) -> Workspace:  # noqa: ARG002
        """Sessions that can read the stays."""
        setup = f"MIMIC_DATA_DIR = {str(self._stays.folder)!r}\n{helpers('icu_session')}"
        return Workspace(setup, {"icu_averages": self._averages}, (self._stays.folder,))

    def teacher(self, task: Task) -> ICUTeacher:  # noqa: ARG002
        return ICUTeacher()

    async def _averages(self, patients: list[str], variable: str) -> dict[str, float]:
        column = column_of(variable)
        if column is None:
            raise HostError(f"no variable is called {variable!r}; there are {', '.join(VARIABLES.values())}")
        return await asyncio.to_thread(self._stays.averages, patients, column)

    @functools.cached_property
    def _stays(self) -> Stays:
        folder = generated_folder() if self._data is None else at_home(Path(self._data))
        return Stays(folder.resolve())

    def _questions(self, count: int) -> Sequence[Question]:
        return questions(self._stays, count)
