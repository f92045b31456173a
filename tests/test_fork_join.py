"""ThreadWeaver's and NPR's formats: what the engine and the model write, where they stop, and how an episode ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from forking import NPR, WEAVER, npr_block, outlines, recited, weaver_block

from thread_cli.contracts.errors import UserError
from thread_cli.contracts.limits import Limits
from thread_cli.contracts.model import Request
from thread_cli.models.faulty import FaultyModel
from thread_cli.models.llama import LlamaModel, LlamaOptions
from thread_cli.models.replay import ReplayModel
from thread_cli.models.retry import Retrying
from thread_cli.models.scripted import Role, ScriptedModel
from thread_cli.protocols.prompt import Rules, format_of
from thread_cli.record import first_difference

FORK = f"I split it.\n<Parallel>\n{outlines('add', 'count')}</Outlines>"
THREE = {"0.0": " first</Thread>", "0.1": " second</Thread>", "0.2": " third</Thread>"}
END = "</Parallel>\n</think>\n6"


def answering(fork: str, end: str, below: dict[str, str], asked: list[Request] | None = None) -> Any:
    """A main thread that forks once; `below` has what its children write."""

    def script(request: Request) -> str:
        if asked is not None:
            asked.append(request)
        if request.thread != "0":
            return below[request.thread]
        return end if "<Thread>" in request.y or "<step>" in request.y else fork

    return script


def repairs(played: Any) -> list[str]:
    return [event.repair for event in played.of("repaired")]


# --- ThreadWeaver as released


async def test_a_child_is_seeded_with_a_line_of_its_tag_and_its_number_behind_all_text_so_far(play) -> None:
    asked: list[Request] = []
    await play(answering(FORK, END, THREE, asked), rules=WEAVER)
    main, first, second, after = asked
    assert main.c.endswith("\n\n\n\n\n\nPrompt:\nDo it.\n\n\nResponse:\n<think>\n")
    assert (main.stop[0], first.stop[0]) == ("</Outlines>", "</Thread>")
    so_far = f"Q{main.c}{FORK}"
    assert [first.prompt, second.prompt] == [f"{so_far}\n<Thread>\n{n}:" for n in (1, 2)]
    assert after.prompt == f"{so_far}\n<Thread>\n1: first</Thread><Thread>\n2: second</Thread>\n"


async def test_the_answer_is_what_stands_behind_the_thinking(play) -> None:
    played = await play(answering(FORK, END, THREE), rules=WEAVER)
    assert played.episode.answer == "6"
    assert played.y("0") == f"{FORK}\n<Thread>\n1: first</Thread><Thread>\n2: second</Thread>\n{END}"
    assert [event.context for event in played.of("thread_started")][1:] == ["1: add", "2: count"]
    assert repairs(played) == []


async def test_without_an_answer_behind_the_thinking_the_last_line_is_the_answer(play) -> None:
    played = await play(["<Parallel>\nIt is 7\n</Parallel>"], rules=WEAVER)
    assert played.episode.answer == "It is 7"


async def test_with_conclusions_the_engine_begins_one_after_the_last_thread(play) -> None:
    end = "both</Conclusion>\n</Parallel>\n</think>\n6"
    played = await play(answering(FORK, end, THREE), rules={**WEAVER, "protocol": "weaver:conclusions"})
    assert played.y("0").endswith(f" second</Thread>\n<Conclusion>\n{end}")


@pytest.mark.parametrize("broken", ["it has no end", "looks\n#END#"], ids=["end of text", "end token"])
async def test_a_thread_that_ends_otherwise_closes_the_block_and_the_generation(play, broken: str) -> None:
    played = await play(answering(FORK, END, {**THREE, "0.1": broken}), rules=WEAVER)
    written = broken.removesuffix("#END#")
    assert played.y("0").endswith(f"<Thread>\n2:{written}</Thread>\n</Parallel>")
    assert len(played.of("generated", "0")) == 1
    assert repairs(played) == ["unclosed"]


async def test_a_thread_that_reaches_the_length_of_a_call_closes_the_block_and_the_generation(
    play, embedded_model
) -> None:
    model = LlamaModel(LlamaOptions(embedded_model, context=2048))

    class Half:
        """The main thread is scripted, the children are the local model's."""

        async def complete(self, request: Request) -> Any:
            if request.thread != "0":
                return await model.complete(request)
            return await ScriptedModel([FORK]).complete(request)

        async def close(self) -> None:
            await model.close()

    played = await play(Half(), rules=WEAVER, limits=Limits(max_tokens=5))
    await model.close()
    assert {event.limit for event in played.of("failed")} == {"max_tokens"}
    assert played.y("0").endswith("</Thread>\n</Parallel>")
    assert len(played.of("generated", "0")) == 1


async def test_a_list_without_outlines_is_read_past_in_training_and_ends_the_thread_in_evaluation(play) -> None:
    text = "<Parallel>\n<Outlines>\nnothing\n</Outlines>\nit goes on\n</think>\n5"
    played = await play(recited(text, "Thread"), rules=WEAVER)
    assert (played.y("0"), played.episode.answer) == (text, "5")
    assert played.episode.totals.threads == 1

    ended = await play(recited(text, "Thread"), rules={**WEAVER, "protocol": "weaver:evaluation"})
    assert ended.y("0") == text[: text.index("</Outlines>") + len("</Outlines>")]


async def test_of_two_outlines_with_one_number_training_keeps_the_first_and_evaluation_both(play) -> None:
    fork = f"<Parallel>\n{outlines('add', 'count', 'look', ids=['1', '2', '1'])}</Outlines>"
    played = await play(answering(fork, END, THREE), rules=WEAVER)
    assert [event.context for event in played.of("thread_started")][1:] == ["1: add", "2: count"]
    assert repairs(played) == ["double"]
    both = await play(answering(fork, END, THREE), rules={**WEAVER, "protocol": "weaver:evaluation"})
    assert [event.context for event in both.of("thread_started")][1:] == ["1: add", "2: count", "1: look"]


async def test_the_outlines_after_the_last_tag_count_and_numbers_may_have_dots(play) -> None:
    fork = f"<Outlines>\n<Outline>7: no</Outline>\n{outlines('add', 'count', ids=['1.1 ', ' 1.2'])}</Outlines>"
    played = await play(answering(fork, END, THREE), rules=WEAVER)
    assert [event.context for event in played.of("thread_started")][1:] == ["1.1: add", "1.2: count"]
    assert "\n<Thread>\n1.1: first</Thread><Thread>\n1.2: second</Thread>\n" in played.y("0")


async def test_a_thread_forks_thirty_two_times_at_most(play) -> None:
    block = weaver_block(" a", " b")
    text = "".join(f"{n}\n{block}\n" for n in range(40)) + "</think>\n5"
    played = await play(recited(text, "Thread"), rules=WEAVER, limits=Limits(calls=None))
    assert len(played.of("joined", "0")) == 33
    assert played.episode.totals.threads == 1 + 2 * 32
    assert played.y("0").endswith("</Outlines>")
    assert text.startswith(played.y("0"))


async def test_fifty_threads_run_at_once_and_the_engines_own_limit_leaves_out_the_rest(play) -> None:
    text = weaver_block(*(f" {n}" for n in range(50)))
    played = await play(recited(text, "Thread"), rules=WEAVER)
    assert played.y("0") == text
    fork = text[: text.index("</Outlines>") + len("</Outlines>")]
    few = await play(answering(fork, END, THREE), rules=WEAVER, limits=Limits(fan_out=2))
    assert few.y("0").endswith(f"\n<Thread>\n1: first</Thread><Thread>\n2: second</Thread>\n{END}")


async def test_blocks_may_be_nested_down_to_the_limit_of_depth(play) -> None:
    roles = [
        Role(path="0", text=f"{FORK}{END}"),
        Role(path="0.0", text=f" deeper\n<Parallel>\n{outlines('in', 'side')}</Outlines></Parallel> done</Thread>"),
        Role(path="0.0.*", text=" leaf</Thread>"),
        Role(path="0.1", text=" second</Thread>"),
    ]
    played = await play(roles, rules=WEAVER)
    assert played.episode.totals.depth == 2
    assert "1: deeper\n<Parallel>\n<Outlines>\n<Outline>1: in</Outline>" in played.y("0")
    assert "1: leaf</Thread><Thread>\n2: leaf</Thread>\n</Parallel> done</Thread><Thread>\n2: second" in played.y("0")
    flat = await play(roles, rules=WEAVER, limits=Limits(depth=1))
    assert "</Outlines></Parallel> done</Thread><Thread>\n2: second" in flat.y("0")
    assert flat.episode.answer == "6"


async def test_a_nested_block_that_is_cut_ends_the_block_around_it_too(play) -> None:
    roles = [
        Role(path="0", text=f"{FORK}{END}"),
        Role(path="0.0", text=f"<Parallel>\n{outlines('in')}</Outlines></Parallel></Thread>"),
        Role(path="0.0.*", text=" no end"),
        Role(path="0.1", text=" second</Thread>"),
    ]
    played = await play(roles, rules=WEAVER)
    assert played.y("0").endswith("1: no end</Thread>\n</Parallel></Thread><Thread>\n2: second</Thread>\n</Parallel>")
    assert repairs(played) == ["unclosed", "unclosed"]


# --- what is repaired


@pytest.mark.parametrize(
    ("fork", "found", "contexts"),
    [
        ("<Outlines>\n<Outline>1: add\n<Outline>2: count</Outline>\n</Outlines>", ["unclosed"], ["1: add", "2: count"]),
        ("<Outlines>\n<Outline>1: add</Outline>\n<Outline>2: count</Outline>\n", ["unclosed"], ["1: add", "2: count"]),
        ("<Outline>1: add</Outline>\n<Outline>2: count</Outline>\n</Outlines>", ["unopened"], ["1: add", "2: count"]),
        ("<Outlines><Outline>2: add</Outline><Outline>4: b</Outline></Outlines>", ["misnumbered"], ["2: add", "4: b"]),
        ("<Outlines><Outline>add</Outline><Outline>b</Outline></Outlines>", ["unnumbered"], ["1: add", "2: b"]),
        (
            "<Outlines><Outline>2: add</Outline><Outline>b</Outline></Outlines>",
            ["unnumbered", "misnumbered"],
            ["2: add", "3: b"],
        ),
        ("<Outlines><Outline>1: add</Thread><Outline>2: b</Outlines>", ["unclosed"], ["1: add", "2: b"]),
    ],
    ids=["unclosed", "no end of the list", "unopened", "misnumbered", "unnumbered", "half numbered", "swapped"],
)
async def test_a_list_whose_intent_is_plain_is_repaired(play, fork: str, found: list[str], contexts: list[str]) -> None:
    played = await play(answering(f"<Parallel>\n{fork}", END, THREE), rules=WEAVER)
    assert [event.context for event in played.of("thread_started")][1:] == contexts
    assert repairs(played) == found
    assert played.episode.totals.repairs == len(found)
    assert played.episode.answer == "6"


@pytest.mark.parametrize("tag", ["<Thread>\n2: mine", "</Parallel>\nso 5"])
async def test_a_thread_that_writes_past_its_end_is_closed_there(play, tag: str) -> None:
    played = await play(answering(FORK, END, {**THREE, "0.0": f" first\n{tag}"}), rules=WEAVER)
    assert "1: first\n</Thread><Thread>\n2: second</Thread>" in played.y("0")
    assert (repairs(played), played.episode.answer) == (["overrun"], "6")


async def test_threads_without_outlines_are_decoded_one_after_the_other(play) -> None:
    text = "<Parallel>\n<Thread>1: a</Thread>\n<Thread>2: b</Thread>\n</Parallel>\n</think>\n5"
    played = await play([text], rules=WEAVER)
    assert (played.y("0"), played.episode.answer, played.episode.totals.threads) == (text, "5", 1)


async def test_a_closing_tag_alone_forks_nothing_a_second_time(play) -> None:
    text = f"{weaver_block(' a', ' b')}\nstray </Outlines> goes on\n</think>\n5"
    played = await play(recited(text, "Thread"), rules=WEAVER)
    assert played.y("0") == text
    assert played.episode.totals.threads == 3


# --- ThreadWeaver as the paper says


async def test_by_the_paper_the_engine_closes_the_block_and_the_model_goes_on_whatever_happened(play) -> None:
    end = "so it goes\n</think>\n6"
    played = await play(answering(FORK, end, {**THREE, "0.1": " no end"}), rules={**WEAVER, "protocol": "weaver:paper"})
    assert played.y("0") == f"{FORK}\n<Thread> 1: first</Thread>\n<Thread> 2: no end</Thread>\n</Parallel>\n{end}"
    assert (played.episode.answer, repairs(played)) == ("6", ["unclosed"])


def test_the_paper_stands_alone_among_the_options() -> None:
    with pytest.raises(UserError, match="cannot be conclusions and paper at once"):
        format_of("weaver:paper,conclusions", Rules())


# --- NPR

PLANS = "<guideline>\n<plan>1: add</plan>\n<plan>2: count</plan>\n</guideline>"
STEPS = {"0.0": " first</step>", "0.1": " second</step>"}


async def test_npr_forks_plans_into_steps_and_the_engine_begins_the_takeaway(play) -> None:
    asked: list[Request] = []
    played = await play(answering(PLANS, "both</takeaway>\nIt is 6", STEPS, asked), rules=NPR)
    assert (asked[0].stop[0], asked[1].stop[0]) == ("</guideline>", "</step>")
    assert asked[1].y == f"{PLANS}\n<step>\n1:"
    assert played.y("0") == (
        f"{PLANS}\n<step>\n1: first</step>\n<step>\n2: second</step><takeaway>\nboth</takeaway>\nIt is 6"
    )
    assert played.episode.answer == "It is 6"


@pytest.mark.parametrize("plans", [0, 6])
async def test_none_or_more_than_five_plans_end_the_generation_as_released_but_not_by_the_paper(
    play, plans: int
) -> None:
    listed = "".join(f"<plan>{n}: do</plan>\n" for n in range(1, plans + 1))
    text = f"<guideline>\n{listed}</guideline>" + npr_block(*[" x"] * plans).partition("</guideline>")[2]
    played = await play(recited(text, "step"), rules=NPR)
    assert played.y("0") == f"<guideline>\n{listed}</guideline>"
    assert played.episode.totals.threads == 1
    paper = await play(recited(text, "step"), rules={**NPR, "protocol": "npr:paper"})
    assert paper.y("0") == text
    assert paper.episode.totals.threads == 1 + plans


async def test_a_step_without_its_end_is_closed_and_the_thread_goes_on(play) -> None:
    played = await play(answering(PLANS, "both</takeaway>\nIt is 6", {**STEPS, "0.1": " no end"}), rules=NPR)
    assert "2: no end</step><takeaway>\nboth" in played.y("0")
    assert (played.episode.answer, repairs(played)) == ("It is 6", ["unclosed"])


# --- both


@pytest.mark.parametrize(("block", "rules", "branch"), [(weaver_block, WEAVER, "Thread"), (npr_block, NPR, "step")])
async def test_a_fork_of_100_200_and_150_tokens_has_a_latency_of_200(play, block, rules, branch) -> None:
    text = block(*("x" * (4 * tokens) for tokens in (100, 200, 150)))
    played = await play(recited(text, branch), rules=rules)
    spent = {path: sum(e.generated_tokens for e in played.of("generated", path)) for path in ("0", "0.0", "0.1", "0.2")}
    assert [spent[path] for path in ("0.0", "0.1", "0.2")] == [100, 200, 150]
    assert played.episode.totals.token_latency == spent["0"] + 200
    assert played.episode.totals.generated_tokens == spent["0"] + 450


@pytest.mark.parametrize(("block", "rules", "branch"), [(weaver_block, WEAVER, "Thread"), (npr_block, NPR, "step")])
async def test_a_recorded_run_is_repeated_event_by_event(play, block, rules, branch) -> None:
    played = await play(recited(f"So:\n{block(' a', ' b', ' c')}\n5", branch), rules=rules)
    again = await play(ReplayModel(played.events), rules=rules)
    assert first_difference(played.events, again.events) is None


@pytest.mark.parametrize(("block", "rules", "branch"), [(weaver_block, WEAVER, "Thread"), (npr_block, NPR, "step")])
async def test_calls_that_fail_and_are_tried_again_leave_no_trace_in_the_text(play, block, rules, branch) -> None:
    text = f"{block(' a', ' b', ' c')}\n5"
    model = FaultyModel(ScriptedModel(recited(text, branch)), "429=0.3,500=0.3,seed=4")
    played = await play(Retrying(model, wait_initial=0.001, attempts=50), rules=rules)
    assert played.episode.totals.retries > 0
    assert (played.y("0"), played.episode.answer) == (text, "5")


@pytest.mark.parametrize(("block", "rules", "branch"), [(weaver_block, WEAVER, "Thread"), (npr_block, NPR, "step")])
@pytest.mark.parametrize("seed", range(10))
async def test_garbled_and_cut_answers_end_in_a_judged_episode(play, block, rules, branch, seed: int) -> None:
    script = {path: f"{block(' a', ' b')}\n5" if path == "0" else f" a</{branch}>" for path in ("0", "0.0", "0.1")}
    model = FaultyModel(
        ScriptedModel(lambda request: script.get(request.thread, "")), f"garbage=0.5,cut=0.2,seed={seed}"
    )
    played = await play(model, rules=rules, limits=Limits(calls=30))
    assert played.episode.status.value in {"answered", "failed", "model_error", "limited"}


async def test_a_child_that_failed_before_it_wrote_anything_is_left_out(play) -> None:
    played = await play(answering(FORK, END, THREE), rules=WEAVER, limits=Limits(threads=2))
    assert played.y("0") == f"{FORK}\n<Thread>\n1: first</Thread>\n{END}"
    assert [event.limit for event in played.of("failed")] == ["threads"]


@pytest.mark.parametrize(("rules", "seed"), [(WEAVER, "Outlines"), (NPR, "guideline")])
async def test_children_on_the_local_model_evaluate_no_token_of_their_parent_again(
    play, embedded_model: Path, rules, seed
) -> None:
    model = LlamaModel(LlamaOptions(embedded_model, context=2048))
    tag = "Outline" if seed == "Outlines" else "plan"
    fork = f"<{seed}>\n" + "".join(f"<{tag}>{n}: count to {n}</{tag}>\n" for n in (1, 2, 3)) + f"</{seed}>"

    class Half:
        """The main thread's list is the script's, read by the local model; the children are the local model's."""

        async def complete(self, request: Request) -> Any:
            if request.thread == "0":
                return await ScriptedModel([fork if "1:" not in request.y else "</think>5"]).complete(request)
            return await model.complete(request)

        async def close(self) -> None:
            await model.close()

    text = "Count: " + " ".join(map(str, range(100)))
    played = await play(Half(), text, rules=rules, limits=Limits(max_tokens=6))
    await model.close()
    prompts = [event for n in range(3) for event in played.of("generated", f"0.{n}")[:1]]
    assert len(prompts) == 3
    read = sum(event.prompt_tokens - event.cached_tokens for event in prompts)
    assert read <= max(event.prompt_tokens for event in prompts) + 3 * 6
    assert played.episode.totals.repeated_tokens == 0
