"""The threads of `prompts/dataqa/datacommons/default.jinja`, written from the wording of a question alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from thread_envs.dataqa.comparing import COMPARISONS, END, compared, final, say
from thread_envs.dataqa.datacommons_questions import TEMPLATES
from thread_envs.dataqa.teacher import QuestionTeacher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from thread_cli.models.teacher import Course
    from thread_envs.dataqa.questions import Template

__all__ = ["DataCommonsTeacher"]

_QUESTION = re.compile(r"Question: (?P<question>.+?)\s*\Z")
_TABLE = re.compile(rf"a table of the (?P<variable>.+) (?P<when>from \d+ to \d+|in \d+) for (?P<places>.+?){END}")
_SERIES = re.compile(rf"the (?P<variable>.+) (?P<when>from \d+ to \d+|in \d+) in (?P<place>.+?){END}")
_STATISTIC = re.compile(
    r"the (?P<statistic>slope|correlation|value|minimum|maximum|average|forecast) "
    rf"(for (?P<year>\d+) )?of (?P<column>.+?)( and (?P<other>.+?))? in the table{END}"
)
_NATION = "the nation"


def _table(asked: re.Match[str]) -> Course:
    columns: list[str] = []
    before = ""
    places = asked["places"].split(" and ")
    for index, place in enumerate(places):
        opening = "Next" if index else "First"
        yield f"{before}{opening}, the {asked['variable']} {asked['when']} in {place} "
        columns.append(f"{place!r}: column{index + 1}")
        before = f"column{index + 1} = series\n"
    seen = yield f"{before}table = pd.DataFrame({{{', '.join(columns)}}})\n> print(table) "
    return "print(f'{len(table)} rows in the table')\n" if seen.text else say("the table is empty")


def _series(asked: re.Match[str]) -> Course:
    start, *later = re.findall(r"\d+", asked["when"])
    yield (
        f"place = find_place({asked['place']!r})\n"
        f"variable = find_variable({asked['variable']!r})\n"
        "> print(place, variable) "
    )
    yield f"series = observations(place, variable, {start}, {later[0] if later else start})\n> print(series) "
    return "print(f'{len(series)} values in series')\n"


def _statistic(asked: re.Match[str]) -> Course:
    yield "> print(table) "
    column = f"table[{asked['column']!r}]"
    match asked["statistic"]:
        case "slope":
            code = f"number = linregress(table.index, {column}).slope"
        case "correlation":
            code = f"number = pearsonr({column}, table[{asked['other']!r}]).statistic"
        case "value":
            code = f"number = {column}[{asked['year']}]"
        case "forecast":
            code = f"line = linregress(table.index, {column})\nnumber = line.slope * {asked['year']} + line.intercept"
        case name:
            code = f"number = {column}.{_METHODS[name]}()"
    return f"{code}\nprint(f'{{number:.6g}}')\n"


_METHODS = {"minimum": "min", "maximum": "max", "average": "mean"}


class DataCommonsTeacher(QuestionTeacher):
    """Answers as the threads of the prompt do, and knows no more than they."""

    about = "Data Commons"
    question = _QUESTION
    templates = TEMPLATES
    courses = (
        (_TABLE, _table),
        (_SERIES, _series),
        (_STATISTIC, _statistic),
        *COMPARISONS,
    )

    def main(self, template: Template, values: Mapping[str, str]) -> Course:
        a = values["a"]
        b = values.get("b", _NATION if template.name == "nation" else "")
        when = f"in {values['year']}" if "year" in values else f"from {values['start']} to {values['end']}"
        places = f"{a} and {b}" if b else a
        yield f"First, a table of the {values['variable']} {when} for {places} "
        statistic = template.statistic
        if statistic in {"value", "forecast"}:
            statistic += f" for {values.get('later', values.get('year'))}"
        if template.form == "sign":
            number = yield f"Next, the {statistic} of {places} in the table "
            answer = yield f"Last, does {number.text} mean {' or '.join(template.words)} "
            return final(answer.text)
        one = (yield f"Next, the {statistic} of {a} in the table ").text
        other = (yield f"Next, the {statistic} of {b} in the table ").text
        return (yield from compared(template, one, other, (a, b)))
