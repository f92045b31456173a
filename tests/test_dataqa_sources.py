"""Where the data of data question answering come from: memory, files, servers, folders."""

from __future__ import annotations

import json
import math
import shutil
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import pytest

from thread_cli.contracts.environment import Task
from thread_cli.contracts.errors import Status, UserError
from thread_cli.contracts.interpreter import HostError
from thread_cli.engine.executor import Executor
from thread_cli.interpreters.session import SessionInterpreter
from thread_cli.protocols.prompt import load
from thread_envs.dataqa import icu_stays
from thread_envs.dataqa.datacommons import DataCommons
from thread_envs.dataqa.icu import ICU
from thread_envs.dataqa.icu_generated import generated_folder
from thread_envs.dataqa.instance import Instance, Place, read_instance


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("THREAD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


# --- Data Commons in memory


def test_places_and_variables_are_found_in_plain_words(task_data):
    folder = task_data / "datacommons"
    instance = read_instance(folder / "observations_v2.json", folder / "places.json")
    for place in instance.places:
        assert instance.find_place(place.full_name) == instance.find_place(place.dcid) == place.dcid
    for dcid, words in instance.variables.items():
        query = f"the {words} in Kansas City Missouri"
        detected = instance.detect(query)
        assert (detected["variables"][0], detected["entities"]) == (dcid, ["geoId/2938000"])
        assert instance.find_variable(words) == instance.find_variable(dcid) == dcid
    for words, dcid in {
        "the obesity prevalence rate": "Percent_Person_Obesity",
        "smoking": "Percent_Person_Smoking",
        "rate of uninsured males": "Percent_Person_18To64Years_Male_NoHealthInsurance",
        "individuals who get less than 7 hours of sleep": "Percent_Person_SleepLessThan7Hours",
    }.items():
        assert instance.find_variable(words) == dcid
    assert instance.find_place("Missouri") == "geoId/29"
    assert instance.find_place("the national average") == "country/USA"
    with pytest.raises(HostError, match="no place is called 'Atlantis'"):
        instance.find_place("Atlantis")
    with pytest.raises(HostError, match="no variable is described"):
        instance.find_variable("moonlight")


def test_what_is_not_known_is_answered_without_values():
    answer = DataCommons()._instance.observe(
        ["Percent_Person_Smoking", "Count_Moons"], ["generated/Upland", "geoId/99"]
    )
    assert answer["byVariable"]["Count_Moons"] == {"byEntity": {"generated/Upland": {}, "geoId/99": {}}}
    known = answer["byVariable"]["Percent_Person_Smoking"]["byEntity"]
    assert known["geoId/99"] == {}
    assert known["generated/Upland"]["orderedFacets"][0]["observations"][0].keys() == {"date", "value"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{", "is no JSON"),
        ("[]", "no `byVariable`"),
        ('{"byVariable": {}}', "allow no questions"),
        ('{"byVariable": {"Count_Person": 5}}', "is no observation response"),
    ],
)
def test_unusable_observations_are_the_users_error(tmp_path, content, message):
    (tmp_path / "places.json").write_text('[{"dcid": "geoId/06", "name": "California"}]')
    if content is not None:
        (tmp_path / "seen.json").write_text(content)
    with pytest.raises(UserError, match=message):
        DataCommons(observations=str(tmp_path / "seen.json")).tasks("test")


@pytest.mark.parametrize(
    "options", [{"observations": "a", "url": "b"}, {"places": "a"}, {"url": "b", "timeout": 0}, {"timeout": math.inf}]
)
def test_options_that_contradict_each_other_are_refused(options):
    with pytest.raises(UserError, match="dataqa/datacommons"):
        DataCommons(**options)


def observed(values, start=2010):
    points = [{"date": str(start + index), "value": value} for index, value in enumerate(values)]
    return {"orderedFacets": [{"facetId": "1", "observations": points}, {"facetId": "2", "observations": points[:1]}]}


@pytest.fixture
def written(tmp_path):
    """Writes files of series by variable and place, and opens them."""

    def write(series, places):
        content = {"byVariable": {variable: {"byEntity": found} for variable, found in series.items()}}
        (tmp_path / "seen.json").write_text(json.dumps(content))
        (tmp_path / "places.json").write_text(json.dumps(places))
        return DataCommons(observations=str(tmp_path / "seen.json"))

    return write


async def test_points_without_a_number_and_places_without_a_name_do_no_harm(written):
    known = {
        "geoId/01": observed([10, 11, "n/a", 13, None, 15, float("nan"), "17"]),
        "geoId/02": observed([30, 28, 26, 24, 22, 20]),
        "geoId/03": {"orderedFacets": [{"facetId": "1"}]},
        "geoId/04": None,
        "geoId/05": {"orderedFacets": []},
    }
    known["geoId/02"]["orderedFacets"][0]["observations"][0] = {"date": 2010}
    known["geoId/02"]["orderedFacets"][0]["observations"] += [{"date": "soon", "value": 5}, {"value": 5}]
    environment = written({"Percent_Person_Obesity": known}, [{"dcid": dcid, "name": None} for dcid in known])
    assert environment._instance.series("Percent_Person_Obesity", "geoId/01") == {
        2010: 10, 2011: 11, 2013: 13, 2015: 15, 2017: 17,
    }  # fmt: skip
    assert list(environment._instance.series("Percent_Person_Obesity", "geoId/02")) == [2011, 2012, 2013, 2014, 2015]
    assert {place for task in environment.tasks("test") for place in task.data["places"]} == {"geoId/01", "geoId/02"}
    outcome = await in_session(environment, "print(observations('geoId/01', 'Percent_Person_Obesity').tolist())")
    assert (outcome.error, outcome.printed) == (None, "[10.0, 11.0, 13.0, 15.0, 17.0]\n")


def test_what_could_be_read_in_two_ways_is_not_asked_about(written):
    names = [
        "Upland",
        "Vale (East)",
        "Ham",
        "Ham",
        "ham",
        "This and That",
        "Lake in the Hills",
        "Up from 2011 to 2012",
        "{a}",
    ]
    places = [{"dcid": f"generated/{index}", "name": name} for index, name in enumerate(names)]
    known = {place["dcid"]: observed([10 + index, 12 + index, 14]) for index, place in enumerate(places)}
    alike = ("Percent_Person_WithDiabetes", "Percent_Person_With_Diabetes")
    environment = written(dict.fromkeys(alike, known), places)
    asked = [task.data for task in environment.tasks("test")]
    named = {place for data in asked for place in data["places"]}
    assert (
        {"generated/0", "generated/1"}
        <= named
        <= {"generated/0", "generated/1", "generated/2", "generated/3", "generated/4"}
    )
    assert len(named) == 3
    assert len(set(environment._instance.variables.values())) == len({data["dcid"] for data in asked}) == 1
    for place in named:
        (full,) = [known.full_name for known in environment._instance.places if known.dcid == place]
        assert environment._instance.find_place(full) == place


SOURCES = {
    "percent": {"importName": "A", "unit": "Percent", "scalingFactor": "100"},
    "share": {"importName": "B"},
    "scaled": {"importName": "C", "scalingFactor": 100},
    "named": {"importName": "D", "unit": "Percent"},
    "plain": {"importName": "E", "scalingFactor": "1"},
}


def by_sources(*sources):
    """Series of a place for each source, such that all of them could be asked about."""
    found = {}
    for place, source in enumerate(sources):
        points = [{"date": str(2010 + year), "value": (place + 1) * (10 + year)} for year in range(9)]
        found[f"geoId/0{place + 1}"] = {"orderedFacets": [{"facetId": source, "observations": points}]}
    variable = {"Percent_Person_WithAsthma": {"byEntity": found}}
    places = [{"dcid": dcid, "name": f"Place{dcid[-1]}", "type": "State"} for dcid in found]
    return {"byVariable": variable, "facets": SOURCES}, places


@pytest.mark.parametrize(
    ("sources", "compared"),
    [
        (("percent", "share"), False),
        (("percent", "named"), False),
        (("scaled", "share"), False),
        (("percent", "percent"), True),
        (("share", "plain"), True),
    ],
)
def test_series_that_differ_in_unit_or_scaling_factor_are_never_compared(tmp_path, sources, compared):
    response, places = by_sources(*sources)
    (tmp_path / "seen.json").write_text(json.dumps(response))
    (tmp_path / "places.json").write_text(json.dumps(places))
    asked = DataCommons(observations=str(tmp_path / "seen.json")).tasks("test")
    assert asked
    assert any(len(task.data["places"]) == 2 for task in asked) == compared


async def test_unit_and_scaling_factor_are_shown_with_the_values(tmp_path):
    response, places = by_sources("percent", "share")
    (tmp_path / "seen.json").write_text(json.dumps(response))
    (tmp_path / "places.json").write_text(json.dumps(places))
    environment = DataCommons(observations=str(tmp_path / "seen.json"))
    for place, told in (("geoId/01", "geoId/01 (Percent, scaling factor 100)"), ("geoId/02", "geoId/02")):
        outcome = await in_session(environment, f"print(observations({place!r}, 'Percent_Person_WithAsthma'))")
        assert f"Name: {told}, dtype" in outcome.printed


# --- Data Commons over HTTP


class Server(BaseHTTPRequestHandler):
    """REST v2 over observations in memory; `troubles` are what the next requests end in, besides an answer."""

    def do_GET(self):
        assert urlsplit(self.path).path == "/core/api/v2/node"
        self._reply({"data": {"country/GTM": {"arcs": {"name": {"nodes": [{"value": "Guatemala"}]}}}}})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/observation"):
            variables, entities = asked["variable"]["dcids"], asked["entity"]["dcids"]
            self._reply(self.server.instance.observe(variables, entities))
        else:
            places = self.server.instance.places
            found = {name: [{"dcid": place.dcid} for place in places if place.name == name] for name in asked["nodes"]}
            self._reply({"entities": [{"node": name, "candidates": found[name]} for name in found]})

    def _reply(self, answer):
        self.server.requests.append((self.path, self.headers.get("X-API-Key")))
        trouble = self.server.troubles.pop(0) if self.server.troubles else 200
        if trouble == "silence":
            self.server.released.wait(20)
            return
        body = b"<html>" if trouble == "html" else json.dumps(answer).encode()
        self.send_response(200 if trouble == "html" else trouble)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serving(instance, *troubles):
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.instance, server.troubles, server.requests = instance, list(troubles), []
        server.released = threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}/core/api/v2"
        worker = threading.Thread(target=server.serve_forever, args=(0.02,))
        worker.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            worker.join()


@pytest.fixture
def recorded(task_data):
    folder = task_data / "datacommons"
    return read_instance(folder / "observations_v2.json", folder / "places.json")


@pytest.fixture
def options(task_data, tmp_path):
    return {"places": str(task_data / "datacommons" / "places.json"), "cache": str(tmp_path / "cache")}


def test_a_scaling_factor_comes_through_the_client(options, tmp_path):
    response, places = by_sources("percent", "share")
    options["places"] = str(tmp_path / "places.json")
    (tmp_path / "places.json").write_text(json.dumps(places))
    known = Instance(response, [Place(place["dcid"], place["name"], place["type"]) for place in places])
    with serving(known) as server:
        remote = DataCommons(url=server.url, **options)._instance
    assert remote.measure("Percent_Person_WithAsthma", "geoId/01") == ("Percent", "100")
    assert remote.measure("Percent_Person_WithAsthma", "geoId/02") == ("", "")


async def test_an_instance_by_url_gives_questions_and_series(recorded, options, monkeypatch, tmp_path):
    monkeypatch.setenv("DC_API_KEY", "a-secret-key")
    with serving(recorded) as server:
        environment = DataCommons(url=server.url, **options)
        assert len(environment.tasks("test")) == 140
        assert [path.rpartition("v2/")[2][:11] for path, _ in server.requests] == ["node?nodes=", "observation"]
        assert {key for _, key in server.requests} == {"a-secret-key"}
        calls = environment.workspace(Task("test-0")).calls
        seen = await calls["datacommons_observe"](["Percent_Person_Smoking"], ["geoId/29"])
        assert seen["byVariable"] == recorded.observe(["Percent_Person_Smoking"], ["geoId/29"])["byVariable"]
        recorded.places += (Place("geoId/99", "Farland"),)
        assert await calls["datacommons_place"]("Farland") == "geoId/99"
        with pytest.raises(HostError, match="no place is called 'Atlantis'"):
            await calls["datacommons_place"]("Atlantis")
        unlisted = "Percent_Person_WithPhysicalHealthNotGood"
        seen = await calls["datacommons_observe"]([unlisted], ["geoId/29"])
        assert len(seen["byVariable"][unlisted]["byEntity"]["geoId/29"]["orderedFacets"][0]["observations"]) == 8
        task = environment.tasks("dev")[0]
        interpreter = SessionInterpreter(environment.workspace(task))
        prompt = load(None, "dataqa/datacommons")
        model = environment.teacher(task)
        executor = Executor(model=model, prompt=prompt, interpreter=interpreter, environment=environment)
        assert (await executor.run(task)).status == Status.solved
        await interpreter.close()
    kept = list((tmp_path / "cache").iterdir())
    assert len(kept) == 4
    assert not any("secret" in file.name + file.read_text() for file in kept)
    again = DataCommons(url=server.url, **options)
    assert again.tasks("test") == environment.tasks("test")
    with pytest.raises(HostError, match=r"^Data Commons: http://\S+ cannot be reached$"):
        await again.workspace(Task("test-0")).calls["datacommons_place"]("Nowhere")


@pytest.mark.parametrize(
    ("troubles", "message", "requests"),
    [
        ([500] * 3, r"answered with status 500$", 3),
        ([200, 503, 503, 503], r"answered with status 503$", 4),
        ([429] * 3, r"answered with status 429$", 3),
        ([401], r"answered with status 401; is the key right\?$", 1),
        (["html"], r"does not speak Data Commons' REST v2$", 1),
        ([200, "html"], r"does not speak Data Commons' REST v2$", 2),
        (["silence"] * 3, r"did not answer within 0.2 s$", 3),
        ([200, "silence", "silence", "silence"], r"did not answer within 0.2 s$", 4),
    ],
)
def test_what_an_instance_does_wrong_is_told_in_one_line(recorded, options, troubles, message, requests):
    began = monotonic()
    with serving(recorded, *troubles) as server:
        with pytest.raises(UserError, match=r"^Data Commons: http://\S+ " + message):
            DataCommons(url=server.url, timeout=0.2, **options).tasks("test")
        assert len(server.requests) == requests
    assert monotonic() - began < 10


@pytest.mark.parametrize("trouble", [429, 500, "silence"])
def test_a_passing_trouble_is_overcome(recorded, options, trouble):
    with serving(recorded, 200, trouble) as server:
        assert len(DataCommons(url=server.url, timeout=0.3, **options).tasks("dev")) == 60
        assert len(server.requests) == 3


def test_the_public_instance_wants_a_key(monkeypatch):
    monkeypatch.delenv("DC_API_KEY", raising=False)
    with pytest.raises(UserError, match=r"datacommons\.org needs a key .*: set DC_API_KEY"):
        DataCommons(url="datacommons.org").tasks("test")


# --- stays


def test_the_generated_stays_are_the_same_again_and_written_once(tmp_path, monkeypatch):
    def content(folder):
        return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*.csv")}

    first = generated_folder()
    stamp = first.stat().st_mtime_ns
    assert (generated_folder(), generated_folder().stat().st_mtime_ns) == (first, stamp)
    monkeypatch.setenv("THREAD_CACHE", str(tmp_path))
    makers = [threading.Thread(target=generated_folder) for _ in range(3)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert content(generated_folder()) == content(first)
    assert [path.name for path in tmp_path.iterdir()] == [first.name]


def test_stays_that_cannot_be_written_are_the_users_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("THREAD_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set THREAD_CACHE"):
        ICU().tasks("test")


@pytest.fixture
def stays(tmp_path):
    return Path(shutil.copytree(generated_folder(), tmp_path / "stays"))


def test_series_are_also_found_where_mimic3_benchmarks_writes_them(stays):
    before = ICU(data=str(stays)).tasks("test")
    (stays / "in-hospital-mortality" / "all").rename(stays / "all")
    for index, file in enumerate(sorted((stays / "all").iterdir())):
        file.rename(stays / "in-hospital-mortality" / ("train" if index % 5 else "test") / file.name)
    assert ICU(data=str(stays)).tasks("test") == before


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("all_stays.csv", "cannot be read"),
        ("phenotype_labels.csv", "cannot be read"),
        ("in-hospital-mortality", "holds no"),
    ],
)
def test_a_folder_that_is_no_benchmark_is_the_users_error(stays, gone, message):
    (stays / gone).rename(stays / "away")
    with pytest.raises(UserError, match=message):
        ICU(data=str(stays)).tasks("test")


def test_odd_series_leave_the_questions_about_others_alone(stays):
    folder = stays / "in-hospital-mortality" / "all"
    (folder / "1_episode1_timeseries.csv").write_text("Hours,Heart Rate\n")
    (folder / "notes_episode1_timeseries.csv").write_text("no series")
    (folder / "2_episode1_timeseries.csv").write_text("Hours,Heart Rate\n1,high\n2,3\n")
    table = stays / "all_stays.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    asked = ICU(data=str(stays)).tasks("test")
    assert len(asked) == 160
    assert not {patient for task in asked for patient in task.data["patients"]} & {"1", "2", "notes"}


@pytest.mark.parametrize(
    ("content", "message"), [("Hours\n1\nlate\n", "has an hour that is no number"), ("", "has no column Hours")]
)
def test_a_series_without_hours_is_the_users_error(stays, content, message):
    (stays / "in-hospital-mortality" / "all" / "90001_episode1_timeseries.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        ICU(data=str(stays)).tasks("test")


def test_many_patients_are_summed_up_once(stays, monkeypatch):
    before = ICU(data=str(stays)).tasks("test")
    monkeypatch.setattr(icu_stays, "_MANY", 10)
    monkeypatch.setenv("THREAD_CACHE", str(stays.parent / "cache"))
    assert ICU(data=str(stays)).tasks("test") == before
    (kept,) = (stays.parent / "cache" / "icu").iterdir()
    assert len(json.loads(kept.read_text())) == 48
    kept.write_text(json.dumps({patient: {} for patient in json.loads(kept.read_text())}))
    assert ICU(data=str(stays)).tasks("test") != before


# --- what sessions find


async def in_session(environment, code):
    interpreter = SessionInterpreter(environment.workspace(Task("test-0")))
    outcome = await interpreter.run(code, {})
    await interpreter.close()
    return outcome


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print(observations(find_place('Upland'), find_variable('smoking'), 2015, 2017).index.tolist())", "[2015, 2016, 2017]"),
        ("print(len(observations('generated/Nowhere', 'Percent_Person_Smoking')))", "0"),
        ("print(collect_data_commons1('generated/Nowhere', 'Percent_Person_Smoking'))", "None"),
        ("import requests\nprint(requests.post(URL_EXPLORE, params={'q': 'obesity in Upland'}).json()['entities'])", "['generated/Upland']"),
        ("print(requests.get(URL_obs + '?entity.dcids=a&variable.dcids=b').json()['byVariable'])", "{'b': {'byEntity': {'a': {}}}}"),
        ("find_place('Atlantis')", "RuntimeError: no place is called 'Atlantis'"),
        ("requests.get('http://example.org')", "RuntimeError: there is no network here"),
    ],
)  # fmt: skip
async def test_helpers_for_data_commons(code, said):
    outcome = await in_session(DataCommons(), code)
    assert (outcome.printed or outcome.error or "").startswith(said)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print(stay(90001).shape, len(stays()), phenotypes().shape)", "(48, 17) 48 (48, 26)"),
        ("print(find_column('heart rate', stay(90001)), find_column('pneumonia', phenotypes())[:9])", "Heart Rate Pneumonia"),
        ("print(averages([90001, '90002', 1], 'Heart Rate').index.tolist())", "['90001', '90002']"),
        ("print(pd.read_csv(MIMIC_DATA_DIR + '/all_stays.csv').shape, DATA_DIR)", "(48, 20) data_table.txt"),
        ("stay(7)", "LookupError: there is no first stay of a patient 7"),
        ("find_column('moonlight', stays())", "LookupError: no column is called like 'moonlight'; there are SUBJECT_ID"),
        ("averages([90001], 'moonlight')", "RuntimeError: no variable is called 'moonlight'; there are"),
    ],
)  # fmt: skip
async def test_helpers_for_stays(code, said):
    outcome = await in_session(ICU(), code)
    assert (outcome.printed or outcome.error or "").startswith(said)
