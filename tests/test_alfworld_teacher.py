"""ALFWorld's teacher and prompts."""

import random
import re

import pytest
from courses import request, written, written_out
from games import Room, extracted, game_files, one_process, play, room_of, small_games, unsolved

from thread_cli.contracts.errors import Status
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.models.teacher import Teacher
from thread_cli.protocols.prompt import installed, load
from thread_envs.alfworld import Alfworld
from thread_envs.alfworld.generator import generate
from thread_envs.alfworld.reading import CATEGORIES, Goal, goal_of
from thread_envs.alfworld.teacher import AlfworldTeacher


@one_process
async def test_the_teacher_wins_a_generated_game_of_each_type(alfworld):
    tasks = small_games(alfworld)
    episodes = await play(alfworld, tasks)
    assert unsolved(tasks, episodes) == []
    assert max(episode.totals.calls for episode in episodes) < 150
    assert {episode.totals.depth for episode in episodes} == {2}


@one_process
async def test_the_teacher_wins_official_games(alfworld, mini):
    tasks = [alfworld.find(str(file)) for file in game_files(mini)[:3]]
    assert unsolved(tasks, await play(alfworld, tasks)) == []


@one_process
async def test_threads_that_leave_names_to_python_win_the_same_games_with_few_words(alfworld):
    terse = Alfworld(terse=True)
    tasks = small_games(alfworld)
    prompt = load("specialist", "alfworld")
    assert unsolved(tasks, await play(alfworld, tasks, prompt=prompt, model=terse.teacher)) == []
    goals = [goal_of(generate(int(task.id))) for task in tasks]
    first = [(await terse.teacher(task).complete(request("Your task is to: x."))).text for task in tasks]
    for goal, text in zip(goals, first, strict=True):
        assert f"'{goal.kind}'" not in text
        assert f"'{goal.target}" not in text.partition("target =")[2]
    assert len(set(first)) <= len({goal.kind for goal in goals})


@one_process
async def test_what_a_game_is_about_is_read_by_python_from_every_sentence(alfworld):
    interpreter = VariableInterpreter()
    for task in alfworld.tasks("generated")[:60]:
        goal = goal_of(generate(int(task.id)))
        code = (await Alfworld(terse=True).teacher(task).complete(request("Your task is to: x."))).text
        told = f"You see a {goal.target} 1.\nYour task is to: {goal.sentence}."
        outcome = await interpreter.run(code.partition("\n\n")[0], {"task": told})
        assert outcome.names["kind"] == goal.kind
        if goal.category != "look":
            assert outcome.names["target"].split()[0] == goal.target
    await interpreter.close()


@one_process
async def test_the_general_prompt_serves_the_teacher_as_well(alfworld):
    tasks = small_games(alfworld)[4:6]
    assert unsolved(tasks, await play(alfworld, tasks, prompt=load(None, "alfworld"))) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@one_process
async def test_two_hundred_generated_games_are_solvable_by_the_planner_and_won_by_the_teacher(alfworld):
    tasks = alfworld.tasks("generated")[:200]
    # Beginning a generated game includes the planner's proof.
    episodes = await play(alfworld, tasks)
    assert unsolved(tasks, episodes) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@one_process
async def test_the_teacher_wins_all_140_seen_games(alfworld, task_data, tmp_path):
    tasks = list(Alfworld(data=str(extracted(task_data, "valid_seen", tmp_path))).tasks("valid_seen"))
    assert len(tasks) == 140
    assert unsolved(tasks, await play(alfworld, tasks)) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@one_process
async def test_the_teacher_wins_unseen_official_games_as_well(alfworld, task_data, tmp_path):
    folder = extracted(task_data, "train_games", tmp_path)
    files = random.Random(0).sample(game_files(folder), 100)
    tasks = [alfworld.find(str(file)) for file in files]
    assert len(unsolved(tasks, await play(alfworld, tasks))) <= 1


@one_process
async def test_a_search_that_finds_nothing_is_given_up(alfworld):
    sought = Goal("", "pick", "cup", "bed")
    (episode,) = await play(alfworld, [small_games(alfworld)[0]], model=lambda _: AlfworldTeacher(sought))
    assert episode.status == Status.failed
    assert "There is no cup to be found." in episode.answer


async def last(context: str, *feedback: str) -> str:
    """What a thread writes after it has been given a context and answers."""
    return (await written(AlfworldTeacher(Goal("", "", "", "")), context, *feedback))[-1].text


@pytest.mark.parametrize(
    ("kind", "seen", "expected"),
    [
        ("pen", "On the desk 1, you see a pencil 1, and a pen 2.", "pen 2"),
        ("pen", "On the desk 1, you see a pencil 1.", "nothing"),
        ("knife", "On the shelf 1, you see a butterknife 1, a knife 3, and a knife 2.", "knife 3"),
        ("pot", "On the shelf 1, you see a potato 1.", "nothing"),
        ("toiletpaper", "On the toilet 1, you see nothing.", "nothing"),
    ],
)
async def test_what_is_looked_for_is_found_by_its_whole_name(kind, seen, expected):
    code = await last(f"look for a {kind} at the desk 1 =>", seen)
    interpreter = VariableInterpreter()
    outcome = await interpreter.run(f"import re\n{code}", {"kind": kind, "observation": seen})
    await interpreter.close()
    assert (outcome.printed, outcome.names["found"]) == (f"{expected}\n", expected)


async def test_a_place_that_is_closed_or_within_reach_is_seen_all_the_same():
    look = "look for a pen at the drawer 1 =>"
    assert await last(look, "The drawer 1 is closed.") == "> open drawer 1 "
    assert await last(look, "Nothing happens.") == "> examine drawer 1 "
    assert await last(look, "Nothing happens.", "The drawer 1 is closed.") == "> open drawer 1 "


async def test_a_search_goes_on_where_a_thing_cannot_be_taken():
    onwards = "place = search.pop(0)\nNext, look for a {kind} at the {place} "
    assert await last("find and take a pen =>") == onwards
    assert await last("find and take a pen =>", "nothing") == onwards
    assert await last("find and take a pen =>", "pen 1") == "> take {found} from {place} "
    assert await last("find and take a pen =>", "pen 1", "Nothing happens.") == onwards
    assert await last("find and use a desklamp =>", "desklamp 1") == "> use {found} "


@one_process
async def test_where_to_look_first_is_the_same_for_a_kind_of_thing_in_every_game(alfworld):
    lists: dict[str, set[str]] = {}
    for task in alfworld.tasks("generated")[:60]:
        first = (await alfworld.teacher(task).complete(request("Your task is to: x."))).text
        kind, likely = re.search(r"kind = '(\w+)'\nlikely = (\[.*\])\n", first).groups()
        lists.setdefault(kind, set()).add(likely)
        assert kind in goal_of(generate(int(task.id))).sentence.split()
        assert 1 <= len(likely.split(", ")) <= 6
    assert {len(known) for known in lists.values()} == {1}
    assert len(set.union(*lists.values())) <= 10


# --- prompts


def blocks(name: str) -> list[tuple[str, str]]:
    """Context and Y of each thread in a prompt."""
    pattern = r"\n{6}Prompt:\n(.*?)\n{3}Response:\n#START#\n(.*?)#END#(?=\n{6}|\Z)"
    return re.findall(pattern, load(name, "alfworld").q, re.DOTALL)


def shown_goal(context: str, y: str) -> Goal:
    """The goal of a game in which a main thread of a prompt may write what it writes."""
    sentence = context.partition("Your task is to: ")[2].removesuffix(".")
    kind, *lamp = re.findall(r"kind = '(\w+)'", y)
    target = lamp or re.findall(r"startswith\('(\w+) '", y)
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
    return Goal(sentence, category, kind, target[0])


@pytest.mark.parametrize("name", ["default", *CATEGORIES])
async def test_the_teacher_writes_exactly_the_threads_of_the_prompts(name):
    threads = blocks(name)
    assert len(threads) >= 7
    assert load(name, "alfworld").q.count("Prompt:\n") == len(threads)
    for context, expected in threads:
        main = "Your task is to" in context
        teacher = AlfworldTeacher(shown_goal(context, expected) if main else Goal("", "", "", ""))
        assert await written_out(teacher, context, expected) == expected


def test_each_type_of_task_has_a_prompt_of_its_own():
    known = dict(installed("alfworld"))
    assert set(known) == {"default", "general", "specialist", *CATEGORIES}
    for category in CATEGORIES:
        assert load(None, "alfworld", category=category).name == f"alfworld/{category}"
    assert load(None, "alfworld", category="").name == "alfworld/default"
    assert load(None, "alfworld", category="heat", model="embedded").name == "alfworld/specialist"
    assert load("specialist", "alfworld").q == ""
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
        if seen.text.endswith("closed."):
            assert seen.text == "The {spot} is closed."
            seen = yield "> open {spot} "
        number = re.search(r"a \{kind\} (\d+)", seen.text)[1]
        taken = yield f"full_name = kind + ' ' + str({number})\n\n> take {{full_name}} from {{spot}} "
        assert taken.text == "You pick up the {full_name} from the {spot}."
        return "print('{full_name} is here')\n"

    def wash(self, thing, place):
        yield f"basin = '{place}'\nfull_name = '{thing}'\n\n> go to {{basin}} "
        yield "> clean {full_name} with {basin} "
        return "print('{full_name} is clean')\n"

    def leave(self, thing, place):
        seen = yield f"goal_place = '{place}'\nfull_name = '{thing}'\n\n> go to {{goal_place}} "
        if seen.text.endswith("closed."):
            yield "> open {goal_place} "
        yield "> put {full_name} in/on {goal_place} "
        return "print('done')\n"


@one_process
async def test_a_prompt_in_the_published_manner_runs_as_it_is(alfworld, tmp_path):
    file = tmp_path / "published.txt"
    file.write_text("Prompt:\nYour task is to: x.\n\n\nResponse:\n[START]\nkind = 'x'\n[END]\n")
    tasks = [task for task in small_games(alfworld) if task.category == "clean"]
    prompt = load(str(file), "alfworld", category="clean", plain_rules=alfworld.rules)
    assert prompt.rules.start == "[START]"
    model = lambda task: PublishedManner(goal_of(generate(int(task.id))), room_of(generate(int(task.id))))  # noqa: E731
    assert unsolved(tasks, await play(alfworld, tasks, prompt=prompt, model=model)) == []
