"""ALFWorld's teacher and prompts."""

import json
import random
import re

import pytest
from games import extracted, game_files, play, unsolved

from thread_cli.engine.errors import Status
from thread_cli.models import Request
from thread_cli.models.teacher import Teacher
from thread_cli.protocols.prompt import installed, load
from thread_envs.alfworld import Alfworld
from thread_envs.alfworld.generator import generate
from thread_envs.alfworld.reading import CATEGORIES, Goal, Room, goal_of, room_of
from thread_envs.alfworld.teacher import AlfworldTeacher


async def test_the_teacher_wins_a_generated_game_of_each_type(alfworld):
    tasks = alfworld.tasks("generated")[:6]
    episodes = await play(alfworld, tasks)
    assert unsolved(tasks, episodes) == []
    assert max(episode.totals.calls for episode in episodes) < 150
    assert {episode.totals.depth for episode in episodes} == {2}


async def test_the_teacher_wins_official_games(alfworld, mini):
    tasks = [alfworld.find(str(file)) for file in game_files(mini)[:3]]
    assert unsolved(tasks, await play(alfworld, tasks)) == []


async def test_the_general_prompt_serves_the_teacher_as_well(alfworld):
    tasks = alfworld.tasks("generated")[4:6]
    assert unsolved(tasks, await play(alfworld, tasks, prompt=load(None, "alfworld"))) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_two_hundred_generated_games_are_solvable_by_the_planner_and_won_by_the_teacher(alfworld):
    tasks = alfworld.tasks("generated")[:200]
    # Beginning a generated game includes the planner's proof.
    episodes = await play(alfworld, tasks)
    assert unsolved(tasks, episodes) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_the_teacher_wins_at_least_138_of_the_140_seen_games(alfworld, task_data, tmp_path):
    tasks = list(Alfworld(data=str(extracted(task_data, "valid_seen", tmp_path))).tasks("valid_seen"))
    assert len(tasks) == 140
    assert len(unsolved(tasks, await play(alfworld, tasks))) <= 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_the_teacher_wins_unseen_official_games_as_well(alfworld, task_data, tmp_path):
    folder = extracted(task_data, "train_games", tmp_path)
    files = random.Random(0).sample(game_files(folder), 100)
    tasks = [alfworld.find(str(file)) for file in files]
    assert len(unsolved(tasks, await play(alfworld, tasks))) <= 1


def test_unusual_places_are_named_where_kinds_would_lead_there_too_late():
    places = {f"cabinet {number}": () for number in range(20, 0, -1)}
    room = Room({"countertop 1": (), "sinkbasin 1": (), **places, "cabinet 3": ("cup 1",)})
    (first, *_) = drained(AlfworldTeacher(Goal("", "pick", "cup", "sinkbasin"), room), "Your task is to: x")
    assert "likely = ['countertop', 'cabinet 3']\n" in first
    near = Room({"countertop 1": (), "sinkbasin 1": (), "cabinet 2": (), "cabinet 1": ("cup 1",)})
    (first, *_) = drained(AlfworldTeacher(Goal("", "pick", "cup", "sinkbasin"), near), "Your task is to: x")
    assert "likely = ['countertop', 'cabinet']\n" in first


def drained(teacher: AlfworldTeacher, context: str) -> list[str]:
    """What a thread of the teacher writes first."""
    return [next(teacher.solve(context))]


async def test_a_search_that_finds_nothing_is_given_up(alfworld):
    room = Room({"desk 1": (), "bed 1": ()})
    model = lambda _: AlfworldTeacher(Goal("", "pick", "cup", "bed"), room)  # noqa: E731
    (episode,) = await play(alfworld, [alfworld.find("4")], model=model)
    assert episode.status == Status.failed
    assert "There is no cup to be found." in episode.answer


# --- prompts


def request(context: str, y: str = "") -> Request:
    return Request("q", f"{chr(10) * 6}Prompt:\n{context}\n\n\nResponse:\n#START#\n", y, ("=>", "#END#"), 500)


def blocks(name: str) -> list[tuple[str, str]]:
    """Context and Y of each thread in a prompt."""
    pattern = r"\n{6}Prompt:\n(.*?)\n{3}Response:\n#START#\n(.*?)#END#(?=\n{6}|\Z)"
    return re.findall(pattern, load(name, "alfworld").q, re.DOTALL)


def shown_game(context: str, y: str) -> AlfworldTeacher:
    """The teacher of a game in which a main thread of a prompt may write what it writes."""
    sentence = context.partition("Your task is to: ")[2].removesuffix(".")
    goal = goal_of({"grammar": f'"Your task is to: {sentence}."', "pddl_problem": ""})
    thing, target = re.search(r"find and take a (\w+)", y)[1], re.search(r"use a (\w+)|startswith\('(\w+) '", y)
    types = {
        "clean": "clean",
        "hot": "heat",
        "heat": "heat",
        "cool": "cool",
        "look": "look",
        "examine": "look",
        "two": "pick2",
    }
    category = next((types[word] for word in sentence.split() if word in types), "pick")
    contents = dict.fromkeys(re.findall(r"[a-z]+ \d+", context), ())
    for kind, likely in zip((thing, "desklamp"), re.findall(r"likely = (\[.*?\])", y), strict=False):
        place = next(place for place in contents if place.split()[0] == json.loads(likely.replace("'", '"'))[-1])
        contents[place] += (f"{kind} 1",) * (2 if category == "pick2" and kind == thing else 1)
    return AlfworldTeacher(Goal(goal.sentence, category, thing, target[1] or target[2]), Room(contents))


@pytest.mark.parametrize("name", ["default", *CATEGORIES])
async def test_the_teacher_writes_exactly_the_threads_of_the_prompts(name):
    threads = blocks(name)
    assert len(threads) >= 7
    assert load(name, "alfworld").q.count("Prompt:\n") == len(threads)
    for context, expected in threads:
        main = "Your task is to" in context
        teacher = shown_game(context, expected) if main else AlfworldTeacher(Goal("", "", "", ""), Room({}))
        y, stop = "", ""
        feedback = re.findall(r"=>.*?<=\n\n", expected, re.DOTALL)
        while stop != "end":
            answer = await teacher.complete(request(context, y))
            y, stop = y + answer.text, answer.stop
            y += feedback.pop(0) if stop == "listen" else ""
        assert y == expected


def test_each_type_of_task_has_a_prompt_of_its_own():
    known = dict(installed("alfworld"))
    assert set(known) == {"default", *CATEGORIES}
    for category in CATEGORIES:
        assert load(None, "alfworld", category=category).name == f"alfworld/{category}"
    assert load(None, "alfworld", category="").name == "alfworld/default"
    assert max(len(load(name, "alfworld").q) for name in known) < 6500


class PublishedManner(Teacher):
    """Plays one game in the manner of the published prompts: `[START]`, names in observations, `put … in/on …`."""

    def __init__(self, goal: Goal, room: Room) -> None:
        self.goal, self.room = goal, room

    def solve(self, context: str):
        if "Your task is to" in context:
            return self.main()
        verb, thing, place = re.fullmatch(r"(get|wash|leave) (\w+(?: \d+)?)(?: at (\w+ \d+))? =>", context).groups()
        return {"get": self.get, "wash": self.wash, "leave": self.leave}[verb](thing, place)

    def main(self):
        goal_place = next(place for place in self.room.contents if place.split()[0] == self.goal.target)
        place = self.room.holding(self.goal.kind)[0]
        yield f"goal_place = '{goal_place}'\nspots = ['{place}']\nkind = '{self.goal.kind}'\n\nOne, get {{kind}} "
        yield "Two, wash {full_name} at sinkbasin 1 "
        yield "Three, leave {full_name} at {goal_place} "
        return ""

    def get(self, thing, _):
        seen = yield f"kind = '{thing}'\nspot = spots[0]\n\n> go to {{spot}} "
        if seen.endswith("closed."):
            assert seen == "The {spot} is closed."
            seen = yield "> open {spot} "
        number = re.search(r"a \{kind\} (\d+)", seen)[1]
        taken = yield f"full_name = kind + ' ' + str({number})\n\n> take {{full_name}} from {{spot}} "
        assert taken == "You pick up the {full_name} from the {spot}."
        return "print('{full_name} is here')\n"

    def wash(self, thing, place):
        yield f"basin = '{place}'\nfull_name = '{thing}'\n\n> go to {{basin}} "
        yield "> clean {full_name} with {basin} "
        return "print('{full_name} is clean')\n"

    def leave(self, thing, place):
        seen = yield f"goal_place = '{place}'\nfull_name = '{thing}'\n\n> go to {{goal_place}} "
        if seen.endswith("closed."):
            yield "> open {goal_place} "
        yield "> put {full_name} in/on {goal_place} "
        return "print('done')\n"


async def test_a_prompt_in_the_published_manner_runs_as_it_is(alfworld, tmp_path):
    file = tmp_path / "published.txt"
    file.write_text("Prompt:\nYour task is to: x.\n\n\nResponse:\n[START]\nkind = 'x'\n[END]\n")
    tasks = [task for task in alfworld.tasks("generated")[:10] if task.category == "clean"]
    prompt = load(str(file), "alfworld", category="clean", plain_rules=alfworld.rules)
    assert prompt.rules.start == "[START]"
    model = lambda task: PublishedManner(goal_of(generate(int(task.id))), room_of(generate(int(task.id))))  # noqa: E731
    assert unsolved(tasks, await play(alfworld, tasks, prompt=prompt, model=model)) == []
