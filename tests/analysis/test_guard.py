import copy
import json
import random
from pathlib import Path

import pytest

from asr_headroom.analysis.guard import read_guard
from asr_headroom.analysis.scoring import kept_base
from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import ResultsError
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.results.store import load_results
from asr_headroom.testing.results import make_results, write_results
from asr_headroom.text.normalize import get_normalizer
from asr_headroom.train.guard import (
    EvaluationSet,
    GuardRecord,
    MeasuredSet,
    choose_point,
    describe,
    describe_base,
)

SPEECH = {
    "name": "fr-dev", "role": "target", "unit": "word", "language": "fr", "clusters": 30,
    "rates": [0.2, 0.1], "differences": [0.0, -0.1], "ci_low": [0.0, -0.15], "ci_high": [0.0, -0.05],
}  # fmt: skip
FACTS = {"alpha": 1.0, "reason": "No guard set got worse.", "points": [0.0, 1.0], "sets": [SPEECH]}


def run_with(guard, **model):
    return make_results([("un", "un")], model={"guard": guard, **model}).run


def changed(**fields):
    return {**copy.deepcopy(FACTS), "sets": [{**SPEECH, **fields}]}


def test_facts_survive_the_disk(tmp_path):
    directory = write_results(tmp_path / "run", make_results([("un", "un")], model={"guard": FACTS}))
    guard = read_guard(load_results(directory).run)
    assert (guard.alpha, guard.delivered, guard.reason) == (1.0, 1, "No guard set got worse")
    assert guard.target.rates == (0.2, 0.1)
    assert guard.target.intervals == (None, (-0.15, -0.05))
    assert guard.speech == (guard.target,)
    assert guard.nonspeech == ()


def test_a_run_without_guard_has_no_facts():
    assert read_guard(make_results([("un", "un")]).run) is None


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({}, "better"),
        ({"ci_low": [0.0, 0.01], "ci_high": [0.0, 0.2]}, "worse"),
        ({"ci_low": [0.0, -0.2], "ci_high": [0.0, 0.2]}, "cannot tell"),
        ({"clusters": 5}, "cannot tell"),
        ({"clusters": 1}, "cannot tell"),
        ({"ci_low": [None, None], "ci_high": [None, None]}, "cannot tell"),
        ({"ci_low": [0.0, -0.1], "ci_high": [0.0, -0.1]}, "cannot tell"),
    ],
)
def test_a_point_is_judged_by_its_interval_if_it_has_one(fields, verdict):
    assert read_guard(run_with(changed(**fields))).target.verdict(1) == verdict


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"points": [0.0]}, "'alpha' is missing"),
        ({**FACTS, "alpha": 0.5}, r"the points \[0.0, 1.0\] must hold 0.0 and the delivered 0.5"),
        ({**FACTS, "points": [0.5, 1.0]}, "must hold 0.0"),
        (changed(rates=[0.2]), "'fr-dev' has 1 rates for 2 points"),
        (changed(role="judge"), "'fr-dev' has the role 'judge', not one of target, guard, nonspeech"),
        (changed(unit="phone"), "'fr-dev' has the unit 'phone'"),
        (changed(differences=[0.0, float("nan")]), "they must be numbers"),
        (["alpha"], "malformed"),
    ],
)
def test_malformed_facts_are_refused_with_the_reason(facts, problem):
    with pytest.raises(ResultsError, match=problem) as error:
        read_guard(run_with(facts))
    assert "'system': the guard's facts" in str(error.value)


def test_the_base_is_kept_by_the_guard_or_by_a_training_without_success():
    at_base = json.loads(json.dumps({**FACTS, "alpha": 0}))
    assert kept_base(run_with(at_base, method="lora", best_step=300))
    assert not kept_base(run_with(FACTS, method="lora", best_step=300))
    assert kept_base(run_with(None, method="lora", best_step=0))
    assert not kept_base(run_with(None, best_step=0))


def measured_sets():
    generator = random.Random(0)
    for name, role, language, worse in (
        ("dev", "target", "fr", -2), ("far", "guard", "zh", 1), ("hush", "nonspeech", "fr", 1),
    ):  # fmt: skip
        text = "" if role == "nonspeech" else "un"
        utterances = [
            Utterance(
                id=f"{name}{i}", audio=Path("x.wav"), text=text and f"{text} {i}", language=language, duration=6.0
            )
            for i in range(20)
        ]
        counts = {}
        for point in (0.0, 0.5, 1.0):
            errors = [max(0, round(4 + worse * point * generator.random())) for _ in utterances]
            counts[point] = [
                ErrorCounts(10 - number, number, 0, 0) if text else ErrorCounts(0, 0, 0, number) for number in errors
            ]
        normalizer = get_normalizer(language)
        yield MeasuredSet(EvaluationSet(name=name, role=role, utterances=utterances, normalizer=normalizer), counts)


def test_what_the_guard_writes_is_what_is_read():
    measured = list(measured_sets())
    alpha, reason = choose_point([0.5, 1.0], measured)
    written = {"alpha": alpha, "reason": reason} | describe([0.0, 0.5, 1.0], measured)
    guard = read_guard(run_with(json.loads(json.dumps(written, allow_nan=False))))
    assert (guard.alpha, guard.reason, guard.points) == (alpha, reason, (0.0, 0.5, 1.0))
    assert [one.role for one in guard.sets] == ["target", "guard", "nonspeech"]
    for one, original in zip(guard.sets, measured, strict=True):
        assert one.rates == pytest.approx([original.rate(point) for point in guard.points])
        assert one.verdict(2) == original.compare(1.0).verdict
    # 20 x 4 words in 20 x 6 s are 40 a minute.
    assert guard.nonspeech[0].rates[0] == pytest.approx(40)


def test_a_guard_that_had_nothing_to_choose_is_read_too():
    guard = read_guard(run_with(dict(describe_base("no step beat the base", [], GuardRecord(None, base="x")).facts)))
    assert (guard.alpha, guard.points, guard.sets, guard.delivered) == (0.0, (0.0,), (), 0)
