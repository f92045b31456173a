"""Data question answering: questions and their answers, marks, teachers, prompts."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from courses import request, written_out
from processes import outputs_under_hash_seeds, thread
from scipy import stats

from thread_cli.contracts.environment import Computes, Scores, Task, Teaches
from thread_cli.contracts.errors import EnvironmentFailed, Status, UserError
from thread_cli.engine.executor import Executor
from thread_cli.interpreters.session import SessionInterpreter
from thread_cli.models.scripted import Role, ScriptedModel
from thread_cli.protocols.prompt import load
from thread_envs.dataqa.datacommons import DataCommons
from thread_envs.dataqa.icu import ICU
from thread_envs.dataqa.icu_generated import generated_folder
from thread_envs.dataqa.scoring import marks

SETTINGS = ["datacommons", "recorded", "icu", "demo"]


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("THREAD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def setting(request):
    """An environment over embedded or real data, and the same data as this test file reads them."""
    if request.param == "datacommons":
        return DataCommons(), DataCommons()._instance._by_variable
    if request.param == "icu":
        return ICU(), generated_folder()
    data = request.getfixturevalue("task_data")
    if request.param == "demo":
        return ICU(data=str(data / "icu")), data / "icu"
    file = data / "datacommons" / "observations_v2.json"
    return DataCommons(observations=str(file)), json.loads(file.read_text())["byVariable"]


async def play(environment, tasks, prompt=None, model=None):
    name = environment._name
    interpreter = SessionInterpreter(environment.workspace(tasks[0]))
    episodes = []
    for task in tasks:
        executor = Executor(
            model=model or environment.teacher(task),
            prompt=load(prompt, name, plain_rules=environment.rules),
            interpreter=interpreter,
            environment=environment,
        )
        episodes.append(await executor.run(task, name))
    await interpreter.close()
    return episodes


def all_tasks(environment):
    return [task for split in environment.splits for task in environment.tasks(split)]


# --- questions


@pytest.mark.parametrize("setting", SETTINGS, indirect=True)
def test_a_split_has_its_published_size_and_the_others_none_of_its_questions(setting):
    environment, _ = setting
    sizes = {split: len(environment.tasks(split)) for split in environment.splits}
    assert sizes == {"test": 140 if isinstance(environment, DataCommons) else 160, "dev": 60}
    tasks = all_tasks(environment)
    assert len({task.text for task in tasks}) == len({task.id for task in tasks}) == len(tasks)
    assert [task.id for task in environment.tasks("test")][:2] == ["test-0", "test-1"]
    assert len({task.category for task in environment.tasks("test")}) == (20 if sizes["test"] == 140 else 18)
    assert not any("," in task.text for task in tasks)


@pytest.mark.parametrize("setting", SETTINGS, indirect=True)
def test_answers_equal_an_independent_computation(setting):
    environment, data = setting
    answer = place_answer if isinstance(environment, DataCommons) else patient_answer
    for task in all_tasks(environment):
        assert task.data["answer"] == answer(task, data), task.text
        assert task.data["form"] == "number" or task.data["answer"] in task.data["choices"]


@pytest.mark.parametrize("setting", SETTINGS, indirect=True)
def test_both_choices_are_right_in_turn(setting):
    environment, _ = setting
    for form in ("against", "between", "sign"):
        places = [
            task.data["choices"].index(task.data["answer"])
            for task in all_tasks(environment)
            if task.data["form"] == form
        ]
        assert len(places) == 0 or 0.25 < sum(places) / len(places) < 0.75


def place_answer(task, by_variable):
    about = task.data

    def series(place):
        rows = pd.DataFrame(by_variable[about["dcid"]]["byEntity"][place]["orderedFacets"][0]["observations"])
        values = rows.assign(date=rows["date"].astype(int)).set_index("date")["value"].sort_index()
        return values.loc[about["start"] : about["end"]]

    found = [series(place) for place in about["places"]]
    number = {
        "slope": lambda values: np.polyfit(values.index, values, 1)[0],
        "forecast": lambda values: np.polyval(np.polyfit(values.index, values, 1), about["later"]),
        "value": lambda values: values.loc[about["year"]],
        "minimum": pd.Series.min,
        "maximum": pd.Series.max,
        "average": pd.Series.mean,
        "correlation": lambda values: values.corr(found[1]),
    }[about["statistic"]]
    return chosen(task, *map(number, found[:1] if about["form"] == "sign" else found))


def patient_answer(task, folder):
    about = task.data
    found = [first_stay(folder, patient)[about["column"]].dropna() for patient in about["patients"]]
    found = [values[(values.index >= about["start"]) & (values.index <= about["end"])] for values in found]
    steps = found[0].diff()
    before = pd.Series(found[0].index, found[0].index).shift()
    number = {
        "slope": lambda values: stats.linregress(values.index, values)[0],
        "forecast": lambda values: np.polyval(np.polyfit(values.index, values, 1), about["later"]),
        "minimum": pd.Series.min,
        "maximum": pd.Series.max,
        "average": pd.Series.mean,
        "hour of the highest value": pd.Series.idxmax,
        "hour of the lowest value": pd.Series.idxmin,
        "hour of the biggest rise": lambda _: before[steps.idxmax()],
        "hour of the biggest fall": lambda _: before[steps.idxmin()],
    }[about["statistic"]]
    numbers = [number(values) for values in found]
    if about["form"] == "number":
        return f"{numbers[0]:.1f}" if about["decimals"] else f"{numbers[0]:g}"
    if about["group"]:
        averages = group_averages(folder, about["group"], about["column"])
        kind = re.search(r"(highest |lowest )?average among", task.text)[1]
        numbers.append({"highest ": np.max, "lowest ": np.min}.get(kind, np.mean)(averages))
    return chosen(task, *numbers)


def first_stay(folder, patient):
    return pd.read_csv(folder / "in-hospital-mortality/all" / f"{patient}_episode1_timeseries.csv", index_col="Hours")


def group_averages(folder, group, column):
    rows = pd.concat([pd.read_csv(folder / "all_stays.csv"), pd.read_csv(folder / "phenotype_labels.csv")], axis=1)
    wanted = {"patients who died in hospital": 1, "patients who left hospital alive": 0}
    members = rows[rows["MORTALITY_INHOSPITAL"] == wanted[group]] if group in wanted else rows[rows[group] == 1]
    averages = []
    for patient in members["SUBJECT_ID"].unique():
        if (folder / "in-hospital-mortality/all" / f"{patient}_episode1_timeseries.csv").exists():
            values = first_stay(folder, patient)[column].dropna()
            averages += [values.mean()] if len(values) > 2 else []
    return averages


def chosen(task, one, other=0.0):
    """The choice that two numbers lead to; they are not nearly the same."""
    form, choices = task.data["form"], task.data["choices"]
    if form == "between":
        wanted = max if re.search(r"\b(higher|increasing faster)\b", task.text) else min
        return choices[[one, other].index(wanted(one, other))]
    if task.data["statistic"] not in {"slope", "correlation"}:
        assert abs(one - other) >= 0.0299 * max(abs(one), abs(other))
    return choices[0] if one > other else choices[1]


def test_questions_do_not_depend_on_the_hash_seed():
    script = (
        "import hashlib\nfrom thread_envs.dataqa.datacommons import DataCommons\nfrom thread_envs.dataqa.icu import ICU\n"
        "print(hashlib.sha256(repr([list(e.tasks(s)) for e in (DataCommons(), ICU()) for s in e.splits]).encode()).hexdigest())"
    )
    assert len(outputs_under_hash_seeds(script)) == 1


@pytest.mark.parametrize("environment", [DataCommons, ICU])
async def test_unknown_splits_and_ids_are_the_users_error(environment):
    with pytest.raises(UserError, match="no split 'train'; it has: test, dev"):
        environment().tasks("train")
    with pytest.raises(UserError, match="ids are test-0 to"):
        await environment().reset(Task("test-999"))


@pytest.mark.parametrize(("environment", "opening"), [(DataCommons, "Question: In"), (ICU, "MIMIC QUESTION: Was")])
async def test_an_episode_begins_with_the_question_and_actions_are_python(environment, opening):
    environment = environment(seed=3)
    assert isinstance(environment, (Computes, Scores, Teaches))
    with pytest.raises(EnvironmentFailed):
        await environment.step("x")
    assert (await environment.reset(Task("test-0"))).startswith(opening)
    assert "Actions are Python" in (await environment.step("get 1 stick")).observation
    await environment.close()
    await environment.close()


# --- marks


@pytest.mark.parametrize(
    ("answer", "truth", "decimals", "expected"),
    [
        ("Final Answer: higher", "higher", None, (1, 1)),
        ("so it is\nFinal Answer: Higher.", "higher", None, (1, 1)),
        ("Final Answer: Final Answer: lower", "lower", None, (1, 1)),
        ("Final Answer: higher in Oakland", "higher", None, (1, 0)),
        ("Final Answer: Oakland", "Oakland California", None, (1, 0)),
        ("Final Answer: lower", "higher", None, (0, 0)),
        ("Final Answer: ", "higher", None, (0, 0)),
        ("", "higher", None, (0, 0)),
        ("Final Answer: 22.7", "22", 0, (1, 0)),
        ("22.4", "22", 0, (1, 1)),
        ("hour 22", "22", 0, (0, 0)),
        ("Final Answer: 78.44", "78.4", 1, (1, 1)),
        ("Final Answer: 78.9", "78.4", 1, (1, 0)),
        ("Final Answer: inf", "78.4", 1, (0, 0)),
        ("Final Answer: 10013", "10013", None, (1, 1)),
        ("Final Answer: patient 10013", "10013", None, (0, 0)),
    ],
)
def test_marks(answer, truth, decimals, expected):
    assert tuple(marks(answer, truth, decimals).items()) == (("substring", expected[0]), ("strict", expected[1]))


# --- teachers


@pytest.mark.parametrize("setting", SETTINGS, indirect=True)
async def test_the_teacher_answers_a_question_of_each_kind(setting):
    environment, _ = setting
    tasks = list({task.category: task for task in environment.tasks("test")}.values())
    episodes = await play(environment, tasks)
    assert [task.text for task, episode in zip(tasks, episodes, strict=True) if not all(episode.marks.values())] == []
    assert {episode.status for episode in episodes} == {Status.solved}
    assert max(episode.totals.calls for episode in episodes) < 40


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("setting", SETTINGS, indirect=True)
async def test_the_teacher_answers_all_questions(setting):
    environment, _ = setting
    tasks = all_tasks(environment)
    episodes = await play(environment, tasks)
    assert [task.text for task, episode in zip(tasks, episodes, strict=True) if not all(episode.marks.values())] == []


@pytest.mark.parametrize("environment", ["dataqa/datacommons", "dataqa/icu"])
def test_the_command_plays_each_setting_without_any_data(tmp_path, environment):
    run = thread("run", environment, "--model", "teacher", "--task", "dev:3", cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Final Answer" in run.stdout


@pytest.mark.parametrize("environment", [DataCommons(), ICU()])
async def test_a_context_that_means_nothing_is_told_so(environment):
    for context in ("write a poem =>", "Question: What is 2 + 2?", "MIMIC QUESTION: Who is ill?"):
        answer = await environment.teacher(Task("test-0")).complete(request(context))
        assert (answer.stop, "no question" in answer.text) == ("end", True)


# --- prompts


def blocks(name):
    """Context and Y of each thread in a prompt."""
    pattern = r"\n{6}Prompt:\n(.*?)\n{3}Response:\n#START#\n(.*?)#END#(?=\n{6}|\Z)"
    return re.findall(pattern, load(None, name).q, re.DOTALL)


@pytest.mark.parametrize(("environment", "count"), [(DataCommons(), 13), (ICU(), 17)])
async def test_the_teacher_writes_exactly_the_threads_of_the_prompt(environment, count):
    threads = blocks(environment._name)
    assert len(threads) == count
    for context, expected in threads:
        assert await written_out(environment.teacher(Task("test-0")), context, expected) == expected


@pytest.mark.parametrize("environment", [DataCommons(), ICU()])
def test_the_prompt_gives_away_no_question(environment):
    texts = {task.text for task in all_tasks(environment)}
    named = {word for text in texts for word in re.findall(r"patient \d+|[A-Z]\w+ [A-Z]\w+", text)}
    q = load(None, environment._name).q
    assert not [name for name in named if name in q]
    assert len(q) < 7_500


PUBLISHED = """Prompt:
Question: Was the rate of asthma in Here higher or lower than in There?


Response:
#START#
Here is a table of the rate of asthma in 2015 for Here: =>{table_dir}<=.

Final Answer: lower
#END#
"""


async def test_threads_as_published_prompts_have_them_run(tmp_path):
    file = tmp_path / "published.txt"
    file.write_text(PUBLISHED)
    environment = DataCommons()
    task = environment.tasks("test")[0]
    roles = [
        Role(
            context="Question: ",
            text="A table of obesity in 2015 for Upland: =>.\n\nGoing by {table_dir} obesity in Upland is => and the slope is =>.\n"
            "\nFinal Answer: " + task.data["answer"] + "\n#END#",
        ),
        Role(
            context="^\\s*Prompt:\nA table",
            text="location1 = 'Upland'\nvariable = 'obesity'\n# The {variable} for number 1, {location1}, is =>.\n\n"
            "table = pd.DataFrame(data_location1)\ntable_dir = DATA_DIR\ntable.to_csv(table_dir, sep='\\t', index=False)\n"
            "print('{table_dir}')\n#END#",
        ),
        Role(
            context="The obesity for number 1, Upland, is =>",
            text="query = 'obesity in Upland'\nresponse = requests.post(URL_EXPLORE + '?q=' + query, headers=HEADERS, json=JSON)\n"
            "response = json.loads(response.text)\n\n> print(response['variables'][:1], response['entities']) =>\n\n"
            'params = {\n"key": API_KEY,\n"entity.dcids": response["entities"][0],\n"select": ["variable", "value"],\n'
            '"variable.dcids": response["variables"][0]\n}\nobs_data = requests.get(URL_OBS, params=params).json()\n'
            'data_location1 = obs_data["byVariable"][response["variables"][0]]["byEntity"][response["entities"][0]]\n'
            'if "orderedFacets" not in list(data_location1.keys()):\n    return None\n'
            'data_location1 = data_location1["orderedFacets"][0]["observations"]\n\nprint(\'{data_location1}\')\n#END#',
        ),
        Role(
            context="is =>.*and the slope is =>",
            text="table = pd.read_csv('data_table.txt', sep='\\t')\n\n>>> print(table.columns) =>\n\n"
            "slope, intercept, r_value, p_value, std_err = stats.linregress(table['date'], table['value'])\nprint(slope > 0)\n#END#",
        ),
        Role(
            context="Going by data_table.txt", text="table = pd.read_csv(DATA_DIR, sep='\\t')\nprint(len(table))\n#END#"
        ),
    ]
    (episode,) = await play(environment, [task], str(file), ScriptedModel(roles))
    assert (episode.status, episode.answer) == (Status.solved, f"Final Answer: {task.data['answer']}")
    assert (episode.totals.threads, episode.totals.actions) == (5, 2)
