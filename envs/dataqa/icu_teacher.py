"""The threads of `prompts/dataqa/icu/default.jinja`, written from the wording of a question alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from thread_envs.dataqa.comparing import COMPARISONS, END, compared, final
from thread_envs.dataqa.icu_questions import TEMPLATES
from thread_envs.dataqa.teacher import QuestionTeacher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from thread_cli.models.teacher import Course
    from thread_envs.dataqa.questions import Template

__all__ = ["ICUTeacher"]

_QUESTION = re.compile(r"(MIMIC )?QUESTION: (?P<question>.+?)\s*\Z", re.IGNORECASE)
_WHEN = r"(?P<when>from hour \d+ to \d+|during the stay)"
_TABLE = re.compile(rf"a table of the (?P<variable>.+) {_WHEN} for (?P<patients>patient .+?){END}")
_SERIES = re.compile(rf"the (?P<variable>.+) of patient (?P<patient>\w+) {_WHEN}{END}")
_STATISTIC = re.compile(
    r"the (?P<statistic>slope|minimum|maximum|average|forecast|hour of the \w+ \w+) "
    rf"(for hour (?P<hour>\d+) )?of (?P<column>patient \w+) in the table{END}"
)
_AMONG = re.compile(rf"the (?P<kind>average|highest average|lowest average) (?P<variable>.+) among (?P<group>.+?){END}")
_GROUP = re.compile(rf"a list of all (?P<group>.+?){END}")


def _table(asked: re.Match[str]) -> Course:
    columns: list[str] = []
    before = ""
    for index, patient in enumerate(asked["patients"].split(" and ")):
        opening = "Next" if index else "First"
        yield f"{before}{opening}, the {asked['variable']} of {patient} {asked['when']} "
        columns.append(f"{patient!r}: column{index + 1}")
        before = f"column{index + 1} = series\n"
    yield f"{before}table = pd.DataFrame({{{', '.join(columns)}}})\n> print(table.head(3)) "
    return "print(f'{len(table)} rows in the table')\n"


def _series(asked: re.Match[str]) -> Course:
    yield (f"known = stay({asked['patient']})\ncolumn = find_column({asked['variable']!r}, known)\n> print(column) ")
    start_end = ":".join(re.findall(r"\d+", asked["when"]))
    return f"series = known[column].loc[{start_end or ':'}].dropna()\nprint(f'{{len(series)}} values in series')\n"


def _statistic(asked: re.Match[str]) -> Course:
    yield f"values = table[{asked['column']!r}].dropna()\n> print(len(values)) "
    match asked["statistic"]:
        case "slope":
            code = "number = linregress(values.index, values).slope"
        case "forecast":
            code = f"line = linregress(values.index, values)\nnumber = line.slope * {asked['hour']} + line.intercept"
        case "hour of the highest value" | "hour of the lowest value" as name:
            code = f"number = values.{_INDEX[name]}()"
        case "hour of the biggest rise" | "hour of the biggest fall" as name:
            code = f"steps = values.diff().shift(-1)\nnumber = steps.{_INDEX[name]}()"
        case name:
            code = f"number = values.{_METHODS[name]}()"
    return f"{code}\nprint(f'{{number:.6g}}')\n"


def _among(asked: re.Match[str]) -> Course:
    yield f"First, a list of all {asked['group']} "
    yield f"numbers = averages(group, {asked['variable']!r})\n> print(numbers.head(3)) "
    method = {"highest average": "max", "lowest average": "min"}.get(asked["kind"], "mean")
    return f"print(f'{{numbers.{method}():.6g}}')\n"


def _group(asked: re.Match[str]) -> Course:
    group = asked["group"]
    if group.startswith("patients with "):
        words = group.removeprefix("patients with ")
        yield f"known = phenotypes()\ncolumn = find_column({words!r}, known)\n> print(column) "
        rows = "known[known[column] == 1]"
    else:
        yield "known = stays()\n> print(known['MORTALITY_INHOSPITAL'].value_counts()) "
        rows = f"known[known['MORTALITY_INHOSPITAL'] == {int('died' in group)}]"
    return f"group = {rows}['SUBJECT_ID'].unique().tolist()\nprint(f'{{len(group)}} patients in group')\n"


_METHODS = {"minimum": "min", "maximum": "max", "average": "mean"}
_INDEX = {
    "hour of the highest value": "idxmax",
    "hour of the lowest value": "idxmin",
    "hour of the biggest rise": "idxmax",
    "hour of the biggest fall": "idxmin",
}


class ICUTeacher(QuestionTeacher):
    """Answers as the threads of the prompt do, and knows no more than they."""

    about = "patients in intensive care"
    question = _QUESTION
    templates = TEMPLATES
    courses = (
        (_TABLE, _table),
        (_STATISTIC, _statistic),
        (_AMONG, _among),
        (_SERIES, _series),
        (_GROUP, _group),
        *COMPARISONS,
    )

    def main(self, template: Template, values: Mapping[str, str]) -> Course:
        a, b = f"patient {values['a']}", f"patient {values.get('b')}"
        start, end = values.get("start", "0"), values.get("end")
        when = f"from hour {start} to {end}" if end else "during the stay"
        patients = f"{a} and {b}" if "b" in values else a
        yield f"First, a table of the {values['variable']} {when} for {patients} "
        statistic = template.statistic + (f" for hour {values['later']}" if "later" in values else "")
        one = (yield f"Next, the {statistic} of {a} in the table ").text
        if template.form == "number":
            return f"print(f'Final Answer: {{{one}:.1f}}')\n" if template.statistic in _METHODS else final(one)
        if "b" in values:
            other = (yield f"Next, the {statistic} of {b} in the table ").text
        else:
            group = template.text.format_map(values).rpartition(" among ")[2].rstrip("?")
            kind = re.search(r"(highest |lowest )?average(?= among)", template.text)
            named = kind[0] if kind else "average"
            other = (yield f"Next, the {named} {values['variable']} among {group} ").text
        return (yield from compared(template, one, other, (values["a"], values.get("b", ""))))
