"""A front as a file, and configurations out of it: what was edited or damaged is refused."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_joules.files.checked import Bad
from pytest_joules.tune.configurations import CALLS, Configuration, space
from pytest_joules.tune.distilling import students
from pytest_joules.tune.front_file import SCHEMA, FrontError, load
from pytest_joules.tune.picture import picture

ALL = [
    dataclasses.replace(one, adapted=adapted)
    for unit in space()
    for one in (unit, *(students(unit) if "ast" in unit.representations else ()))
    for adapted in (False, True)
]

TREES = next(one for one in ALL if one.kind == "boosted")


def front(**changed) -> dict:
    quantity = {"median": 0.4, "ci95": [0.3, 0.5]}
    points = [
        {
            "number": number,
            "label": one.label,
            "configuration": one.as_record(),
            "description": "",
            "error": quantity,
            "bytes": 1000 * number,
            "seconds": {"median": 1e-5 * number, "ci95": None},
            "joules": {"median": 1e-4 * number, "ci95": [9e-5 * number, 1.1e-4 * number]},
            "net_joules": 1e-5,
            "blocks": 10,
            "half_width": 0.1,
            "verdict": "front" if number < 3 else "dominated",
            "by": [] if number < 3 else [1],
        }
        for number, one in enumerate((CALLS, TREES, ALL[-1]), 1)
    ]
    given = {"schema": SCHEMA, "dataset": {"path": "data"}, "seed": 7, "points": points, "provenance": "measured"}
    return given | {"knee": {"number": 2, "tied": [], "why": "it is"}} | changed


def written(tmp_path: Path, data: object) -> Path:
    path = tmp_path / "front.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_each_configuration_says_what_it_is():
    assert len({one.text for one in ALL}) == len(ALL) == len({*ALL})
    for one in ALL:
        assert Configuration.from_record(json.loads(json.dumps(one.as_record()))) == one


def test_points_are_read_back(tmp_path: Path):
    read = load(written(tmp_path, front()))
    assert read.point(1, tmp_path) == (1, "linear calls", CALLS, Path("data"), 7)
    assert read.point(3, tmp_path).configuration == ALL[-1]
    assert read.point(None, tmp_path).number == 2
    with pytest.raises(FrontError, match="the front has no point 9, but 1, 2, 3"):
        read.point(9, tmp_path)
    with pytest.raises(FrontError, match="has no knee: name a point"):
        load(written(tmp_path, front(knee=None))).point(None, tmp_path)


EDITS = {
    "other schema": (lambda data: data.update(schema="pytest-joules-front/9"), "has the schema 'pytest-joules-front/9'"),
    "no points": (lambda data: data.update(points=[]), "has no points"),
    "twice": (lambda data: data["points"].append(data["points"][0]), "is there twice"),
    "kind": (lambda data: data["points"][0]["configuration"].update(kind="pickle"), "'kind' is 'pickle'"),
    "text": (lambda data: data["points"][0]["configuration"].update(text="linear"), "'text' is not what the other keys say"),
    "adapted": (lambda data: data["points"][0]["configuration"].update(adapted=True), "'text' is not what"),
    "looks": (lambda data: data["points"][0]["configuration"].update(representations=["pictures"]), "is 'pictures'"),
    "looks at nothing": (lambda data: data["points"][0]["configuration"].update(representations=[]), "and look at ()"),
    "options": (lambda data: data["points"][0]["configuration"].update(options={"trees": 3}), "cannot have the options"),
    "million": (
        lambda data: data["points"][1]["configuration"].update(options={"trees": 10**6, "depth": 3}),
        "at most makes sense",
    ),
    "label": (lambda data: data["points"][0].update(label="magic"), "'label' is not what"),
    "verdict": (lambda data: data["points"][0].update(verdict="best"), "'verdict' is 'best'"),
    "error": (lambda data: data["points"][0]["error"].update(median=-1), "no such quantity"),
    "number": (lambda data: data["points"][0].update(number=0), "'number' is 0"),
    "knee": (lambda data: data["knee"].update(number=44), "a knee, 44, that is no point"),
    "dataset": (lambda data: data.pop("dataset"), "'dataset' is missing"),
}


@pytest.mark.parametrize("name", EDITS)
def test_what_was_edited_is_refused(name: str, tmp_path: Path):
    edit, words = EDITS[name]
    data = front()
    edit(data)
    with pytest.raises(FrontError, match=f"{re.escape(words)}.*: make a new one with joules tune"):
        load(written(tmp_path, data))


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "is no file of joules tune"), ("[1]", "is no file of joules tune"), ('{"schema": ', "is not"), ("\0", "is no file")],
)
def test_what_is_no_front_is_refused(text: str, words: str, tmp_path: Path):
    with pytest.raises(FrontError, match=words):
        load(written(tmp_path, text))


def test_no_front_and_no_text(tmp_path: Path):
    with pytest.raises(FrontError, match=r"there is no front .*front\.json: make one with joules tune"):
        load(tmp_path / "front.json")
    (tmp_path / "front.json").write_bytes(b"{\xff\xfe")
    with pytest.raises(FrontError, match="is no text"):
        load(tmp_path / "front.json")
    with pytest.raises(FrontError, match="cannot be read"):
        load(tmp_path)


@given(st.data())
def test_whatever_a_configuration_says_it_is_read_or_refused(data: st.DataObject):
    record = copy.deepcopy(data.draw(st.sampled_from(ALL)).as_record())
    key = data.draw(st.sampled_from(sorted(record)))
    record[key] = data.draw(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.text(max_size=5),
            st.lists(st.text(max_size=3)),
            st.dictionaries(st.sampled_from(["trees", "depth", "x"]), st.integers(-1, 9)),
        )
    )
    try:
        found = Configuration.from_record(record)
    except Bad:
        return
    assert found.as_record() == {**record, "options": record["options"] or {}}


def test_the_picture_has_all_points():
    drawn = ElementTree.fromstring(picture(front()))
    space_of = "{http://www.w3.org/2000/svg}"
    points = [each for each in drawn.iter(f"{space_of}g") if each.get("class") == "point"]
    titles = [each.find(f"{space_of}title").text for each in points]
    assert [title.partition(" ")[0] for title in titles] == ["1", "2", "3"] and titles[2].endswith("dominated by 1")
    assert (
        len(points[1].findall(f"{space_of}circle")) == 2 and len(points[0].findall(f"{space_of}circle")) == 1
    )  # a ring: the knee
    width, height = map(float, drawn.get("viewBox").split()[2:])
    for each in drawn.iter(f"{space_of}circle"):
        assert 0 <= float(each.get("cx")) <= width and 0 <= float(each.get("cy")) <= height


@pytest.mark.parametrize("without", [("joules",), ("joules", "seconds")])
def test_a_picture_without_joules(without: tuple[str, ...]):
    data = front()
    for one in data["points"]:
        one.update(dict.fromkeys(without))
    text = picture(data)
    assert text.count('class="point"') == 3 and ("CPU seconds" if len(without) == 1 else "bytes of the model") in text
