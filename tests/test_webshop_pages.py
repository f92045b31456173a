"""WebShop: pages and clients."""

import asyncio
import re

import pytest
from shops import opened, told

from thread_cli.contracts.environment import Snapshots, Task
from thread_cli.contracts.errors import EnvironmentFailed
from thread_envs.webshop import WebShop
from thread_envs.webshop.catalogue import open_catalogue
from thread_envs.webshop.pages import DETAILS, Visit
from thread_envs.webshop.shop import LocalShop

_ODD_ACTIONS = [
    "",
    "   ",
    "\x00",
    "search",
    "search[]",
    "search[   ]",
    "click[]",
    "click[Search]",
    "click[Buy Now]",
    "click[Description]",
    "click[< Prev]",
    "click[Next >]",
    "search[" + "9" * 100_000 + "]",
    "buy[it]",
    "{0.__class__}",
    "click[\u202e🪵]",
    "look\nlook",
]


_RESULTS = """\
[Back to Search] 
Page 1 (Total results: 50) 
[Next >] 
[B0Y6EAAAD9] 
Inkerby Console Table C838, Scratch Resistant and Storage Shelf 
$135.99 
[B0R8WAAAF1] 
Umberfield Console Table Q559, Storage Shelf and Space Saving 
$99.99 
[B042JAAAE5] 
Brackwater Console Table V583, Living Room and Easy Assemble 
$187.99"""  # noqa: W291
_ITEM = """\
[Back to Search] 
[< Prev] 
color [ivory][white]
Brackwater Console Table V583, Living Room and Easy Assemble 
Price: $187.99 
Rating: N.A. 
[Description] 
[Features] 
[Reviews] 
[Buy Now]"""  # noqa: W291


async def test_an_episode_reads_as_reacts_client_writes_it():
    shop, first = await opened()
    assert first == (
        "Instruction: my old console table broke, so i want a new one: storage shelf, in white, "
        "and price lower than 210.00 dollars"
    )
    assert await told(shop, "think[a table, then]") == "OK."
    assert await told(shop, "search[console tables storage shelf white]") == _RESULTS
    assert await told(shop, "search[something else]") == "Invalid action!"
    assert await told(shop, "click[B0LA2AAABM]") != "Invalid action!", (
        "products that are not written down can be clicked"
    )
    assert await told(shop, "click[< Prev]") == _RESULTS
    assert await told(shop, "click[B042JAAAE5]") == _ITEM
    assert await told(shop, "click[Features]") == (
        "[Back to Search] \n[< Prev] \nLiving Room: the console table that Brackwater is known for. \n"
        "Solid Wood, as tested by Brackwater. \nScratch Resistant, as tested by Brackwater. \n"
        "Storage Shelf, as tested by Brackwater. \nQuestions about the V583 are answered within a day."
    )
    assert await told(shop, "click[white]") == "Invalid action!"
    assert await told(shop, "click[< Prev]") == _ITEM
    assert await told(shop, "click[white]") == "You have clicked white."
    assert await told(shop, "click[red]") == "Invalid action!"
    await shop.step("click[Reviews]")
    assert "[ivory][[white]]" in await told(shop, "click[< Prev]")
    last = await shop.step("click[Buy Now]")
    assert (last.observation, last.reward, last.done) == ("Your score (min 0.0, max 1.0): 1.0", 1.0, True)
    for action in ("click[Back to Search]", "search[lamp]", "click[Buy Now]"):
        assert await told(shop, action) == "Invalid action!"


async def test_pages_of_results_can_be_turned():
    shop, _ = await opened()
    await shop.step("search[known]")
    pages = [shop._at[1].products]
    for number in range(2, 6):
        assert f"Page {number} (Total results: 50) \n[< Prev] \n[Next >]" in await told(shop, "click[Next >]")
        pages.append(shop._at[1].products)
    assert len({*sum(pages, ())}) == 50
    assert "Page 6" in await told(shop, "click[Next >]")
    assert not shop._at[1].products
    await shop.step("click[< Prev]")
    assert shop._at[1].products == pages[4]


async def test_the_number_of_products_shown_and_the_button_for_attributes_are_options():
    shop, _ = await opened(shown=10, attributes=True)
    text = await told(shop, "search[console tables white]")
    assert len(re.findall(r"^\[[A-Z0-9]{10}\] $", text, re.MULTILINE)) == 10
    await shop.step("click[B042JAAAE5]")
    assert "[Reviews] \n[Attributes] \n[Buy Now]" in shop._client.render(shop._at[1], shop._at[2], 3)
    assert "console tables" in await told(shop, "click[Attributes]")
    plain, _ = await opened()
    await plain.step("search[console tables]")
    await plain.step("click[B042JAAAE5]")
    assert await told(plain, "click[Attributes]") == "Invalid action!"


async def test_the_client_of_threads_runner_answers_in_its_own_way():
    shop, _ = await opened(client="thread")
    assert await told(shop, "jump") == "Nothing happens."
    assert await told(shop, "search[console tables storage shelf white]") == _RESULTS
    assert await told(shop, "click[Next >]") == "You have clicked Next >."
    assert await told(shop, "click[B042JAAAE5]") == _ITEM
    assert await told(shop, "click[red]") == "You have clicked red."
    assert await told(shop, "click[white]") == "You have clicked white."
    assert await told(shop, "click[< Prev]") == "You have clicked < Prev."
    assert await told(shop, "search[lamp]") == "Nothing happens."
    await shop.step("click[B042JAAAE5]")
    assert "[ivory][white]" in shop._client.render(*shop._at[1:], 3), "leaving a product takes its options back"


async def test_webshops_own_environment_is_there_in_both_modes_of_text():
    shop, first = await opened(client="text")
    assert first.startswith("WebShop [SEP] Instruction: [SEP] my old console table broke")
    assert first.endswith("[SEP] Search")
    text = await told(shop, "search[Console Tables]")
    assert text.count("[SEP]") == 28
    assert text == await told(shop, "click[nothing]") == await told(shop, "jump")
    await shop.step("click[b042jaaae5]")
    assert "Page 1" in await told(shop, "search[console tables]"), "it searches from any page"
    rich, _ = await opened(client="text_rich")
    await rich.step("search[console tables]")
    await rich.step("click[b042jaaae5]")
    text = await told(rich, "click[White]")
    assert text.startswith("You have clicked white.\nInstruction:\n")
    assert "  [button] ivory [button_]\n  [clicked button] white [clicked button_]\n" in text
    assert "\n[clicked button] B042JAAAE5 [clicked button_]\n" in await told(rich, "click[< prev]")
    await rich.step("click[b042jaaae5]")
    assert (await rich.step("click[buy now]")).done


async def test_the_view_is_the_page_for_people():
    shop, _ = await opened()
    results = (await shop.step("search[console tables storage shelf white]")).view.split("\n")
    assert results[:2] == [
        "console tables storage shelf white: page 1",
        "B0Y6EAAAD9   $135.99  Inkerby Console Table C838, Scratch Resistant and Storage Shelf",
    ]
    assert len(results) == 11
    await shop.step("click[B042JAAAE5]")
    assert (await shop.step("click[white]")).view == (
        "B042JAAAE5\nBrackwater Console Table V583, Living Room and Easy Assemble\n"
        "Price: $187.99\nRating: N.A.\ncolor: ivory · (white)"
    )


@pytest.mark.parametrize("client", ["react", "thread", "text", "text_rich"])
@pytest.mark.parametrize("action", _ODD_ACTIONS, ids=range(len(_ODD_ACTIONS)))
async def test_an_odd_action_is_answered(client, action):
    shop, _ = await opened(client=client)
    step = await shop.step(action)
    assert step.observation
    assert len(step.observation) < 1500
    assert (step.reward, step.done) == (0, False)


async def test_interleaved_episodes_are_apart_and_snapshots_rewind():
    one, _ = await opened()
    other, _ = await opened(1)
    assert isinstance(one, Snapshots)
    await one.step("search[lamp]")
    snapshot = await one.snapshot()
    assert await told(other, "click[Back to Search]") == "Invalid action!"
    page = await told(one, "click[Next >]")
    for _ in range(2):
        await one.restore(snapshot)
        assert await told(one, "click[Next >]") == page


async def test_acting_before_an_episode_is_an_environment_failure():
    shop = WebShop()
    for call in (shop.step("search[lamp]"), shop.snapshot()):
        with pytest.raises(EnvironmentFailed, match="no WebShop episode"):
            await call
    await shop.reset(Task("fixed_1"))
    await shop.close()
    await shop.close()
    with pytest.raises(EnvironmentFailed):
        await shop.step("search[lamp]")


def test_all_details_have_pages():
    local = LocalShop(open_catalogue(None), WebShop()._require, attributes=True)
    asin = WebShop()._require("fixed_0").asin
    for detail in DETAILS:
        page = asyncio.run(local.page("fixed_0", Visit("detail", asin=asin, detail=detail)))
        assert len(page.elements) > 4
