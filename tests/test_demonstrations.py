"""The lectures' items: each has values, a notebook, and claims that its values decide."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest
from conftest import ROOT, is_one_line, repro

from repro.errors import InputError
from repro.study.claims.statements import LECTURES, load_claims, load_subjects, parse_subject, subject_of
from repro.study.claims.values import checked_values, plain_values, store_values, stored_values
from repro.study.claims.verdicts import (
    NOT_REPRODUCED,
    NOT_RUN,
    REPRODUCED,
    UNDECIDED,
    judge_values,
    values_apart,
)
from repro.study.reports.figures import notebook_paths
from repro.study.runs.store import STORED_RUNS, project_path
from repro.study.verification.verify import read_verdicts

STORED = project_path(STORED_RUNS)
SUBJECTS = {name: subject for lecture in LECTURES for name, subject in load_subjects(lecture).items()}
ITEM = """measured_by = "shapes.square"

[[claim]]
id = "P99"
statement = "The sides are equal."
source = "our own"
test = "value"
quantity = "sides"
at_least = 1.0
at_most = 2.0

[[claim]]
id = "P99.cube"
statement = "A cube has twelve edges."
source = "our own"
test = "not-run"
reason = "there is no cube"
"""


@pytest.mark.parametrize("name", SUBJECTS)
def test_stored_values_decide_the_claims_as_the_stored_verdicts_say(name):
    subject = SUBJECTS[name]
    assert subject.claims
    values = stored_values(STORED, name)
    assert (values is None) == (not subject.measured_by)
    stored = {verdict.claim: verdict for verdict in read_verdicts(STORED)}
    for claim in subject.claims:
        assert claim.statement.endswith(".")
        assert stored[claim.id] == judge_values(claim, values)


@pytest.mark.parametrize("lecture", LECTURES)
def test_every_item_has_a_notebook_that_prints_and_keeps_its_verdicts(lecture):
    notebooks = notebook_paths(lecture)
    assert set(notebooks) == {claim.figure for claim in load_claims(lecture)}
    for name, path in notebooks.items():
        code = "".join("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"])
        assert re.search(rf'verdicts = print_value_verdicts\("{name}", \S+\)', code), name
        assert re.search(rf'save_figure\(\s*"{name}",.*values=', code, re.DOTALL), name
        assert max(len(cell["source"]) for cell in json.loads(path.read_text())["cells"]) <= 30, name


def test_numbers_are_judged_by_their_bounds_and_by_their_errors():
    within, other = parse_subject(ITEM, "P99", "optimisation").claims
    assert judge_values(other, None).verdict == NOT_RUN
    assert judge_values(within, None).verdict == UNDECIDED
    for value in (1.0, [1.0, 2.0], {"a": 1.5}):
        assert judge_values(within, {"sides": value}).verdict == REPRODUCED
        assert judge_values(within, {"sides": value}).false_alarm == 0.0
    for value in (0.999, [1.5, math.inf], {"a": 1.5, "b": 2.001}):
        assert judge_values(within, {"sides": value}).verdict == NOT_REPRODUCED
    for value, error, verdict in ((1.5, 0.3, REPRODUCED), (1.5, 0.31, UNDECIDED), (2.5, 0.3, NOT_REPRODUCED)):
        found = judge_values(within, {"sides": value, "sides_error": error})
        assert found.verdict == verdict
        assert found.false_alarm is None or found.false_alarm <= 0.05
    # Of two numbers either may be a false alarm: one alone is decided, the same one beside another is not.
    assert judge_values(within, {"sides": 2.5, "sides_error": 0.29}).verdict == NOT_REPRODUCED
    assert judge_values(within, {"sides": [2.5, 1.5], "sides_error": [0.29, 0.1]}).verdict == UNDECIDED
    assert judge_values(within, {"sides": {}}).needs == "the runs that it is measured from"
    with pytest.raises(InputError, match="no such value; known are angles"):
        judge_values(within, {"angles": 1.0})
    with pytest.raises(InputError, match="must have the names of sides"):
        judge_values(within, {"sides": [1.0, 2.0], "sides_error": [0.1]})


def test_values_are_kept_as_they_are(tmp_path):
    values = {"a": 1 / 3, "b": [1.0, -math.inf], "c": {"x": math.inf}}
    store_values(tmp_path, "P99", values)
    assert stored_values(tmp_path, "P98") is None
    found = stored_values(tmp_path, "P99")
    assert found == values | {"a": pytest.approx(1 / 3, rel=1e-11)}
    assert plain_values(found) == plain_values(values)
    for text in ("[]", '{"item": "P98", "values": {}}', '{"item": "P99", "values": {"a": "x"}}', '{"item": "P99"}'):
        (tmp_path / "values" / "P99.json").write_text(text)
        with pytest.raises(InputError):
            stored_values(tmp_path, "P99")
    with pytest.raises(InputError, match="a = nan"):
        checked_values({"a": math.nan}, "P99")


def test_a_stored_value_that_was_altered_is_found():
    subject = parse_subject(ITEM, "P99", "optimisation")
    assert values_apart(subject, {"sides": 1.5}, {"sides": 1.5 + 1e-8}) == []
    (line,) = values_apart(subject, {"sides": 1.5}, {"sides": 1.5001})
    assert "stored as 1.5, now it is 1.5001" in line
    assert values_apart(replace(subject, trained=True), {"sides": 1.5}, {"sides": 1.6}) == []
    (line,) = values_apart(replace(subject, trained=True), {"sides": 1.5}, {"sides": 2.6})
    assert "'reproduced'" in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"P99.cube"', '"P98.cube"'), "must begin with P99"),
        (('reason = "there is no cube"', ""), "must say why"),
        (("at_least = 1.0\nat_most = 2.0", ""), "nothing is claimed"),
        (('"value"', '"level"'), "must be 'value' or 'not-run'"),
        (("measured_by", "measured"), "unknown key 'measured'"),
        (('quantity = "sides"', ""), "must name the value"),
        (("at_most = 2.0", 'chapter = "geometry"'), "chapter = 'geometry'"),
    ],
)
def test_bad_items_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        parse_subject(ITEM.replace(*change), "P99", "optimisation")


def test_an_unknown_item_is_refused():
    done = repro("values", "P77")
    assert done.returncode == 2
    is_one_line(done.stderr, "item = 'P77': unknown")
    assert subject_of("P77") is None


def test_all_stored_values_belong_to_items():
    assert {path.stem for path in (ROOT / STORED_RUNS / "values").glob("*.json")} <= set(SUBJECTS)
