import json

import pytest

from asr_headroom.errors import ResultsError
from asr_headroom.metrics.error_rate import ErrorCounts, UtteranceCounts
from asr_headroom.results.schema import (
    SCHEMA,
    Prediction,
    RunInfo,
    prediction_from_json,
    prediction_to_json,
    run_from_json,
)

LINE = {"id": "u1", "reference": "a b", "hypothesis": "a", "words": [1, 0, 1, 0], "characters": [1, 0, 2, 0]}


def prediction(**fields):
    counts = UtteranceCounts(ErrorCounts(1, 0, 1, 0), ErrorCounts(1, 0, 2, 0))
    return Prediction(id="u1", reference="a b", hypothesis="a", counts=counts, **fields)


def test_defaults_are_left_out_of_the_line():
    assert json.loads(json.dumps(prediction_to_json(prediction()))) == LINE


def test_everything_survives_a_round_trip():
    whole = prediction(
        duration=1.5,
        speaker="p",
        language="fr",
        truncated=True,
        looped=True,
        audio="x.wav",
        extras={"age": 7},
    )
    assert prediction_from_json(json.loads(json.dumps(prediction_to_json(whole))), "here") == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, "'id' is None, it must be text"),
        ({"id": 7}, "'id' is 7, it must be text"),
        ({"reference": None}, "'reference' is None"),
        ({"hypothesis": ["a"]}, r"'hypothesis' is \['a'\]"),
        ({"words": [1, 0, 1]}, r"'words' is \[1, 0, 1\], it must be four counts"),
        ({"words": [1, 0, -1, 0]}, "four counts of at least 0"),
        ({"words": [1, 0, 1.0, 0]}, "four counts"),
        ({"words": "1010"}, "'words' is '1010'"),
        ({"characters": None}, "'characters' is None"),
        ({"characters": [True, 0, 0, 0]}, "four counts"),
        ({"duration": "1.5"}, "'duration' is '1.5', it must be a number or an integer or null"),
        ({"duration": float("nan")}, "'duration' is nan, it must be seconds"),
        ({"duration": -1.0}, "'duration' is -1.0"),
        ({"duration": True}, "'duration' is True"),
        ({"speaker": 3}, "'speaker' is 3, it must be text or null"),
        ({"looped": 1}, "'looped' is 1, it must be true or false"),
        ({"truncated": "no"}, "'truncated' is 'no'"),
        ({"audio": {}}, "'audio' is {}"),
        ({"extras": []}, r"'extras' is \[\], it must be an object"),
        ({"wer": 0.5}, "unexpected keyword argument 'wer'"),
    ],
)
def test_malformed_lines_say_where_and_what(change, message):
    with pytest.raises(ResultsError, match=message) as caught:
        prediction_from_json(LINE | change, "run/predictions.jsonl:7")
    assert str(caught.value).startswith("run/predictions.jsonl:7: ")


@pytest.mark.parametrize("name", ["id", "reference", "hypothesis", "words", "characters"])
def test_missing_fields_are_named(name):
    with pytest.raises(ResultsError, match=f"f:1: .*'{name}'"):
        prediction_from_json({key: value for key, value in LINE.items() if key != name}, "f:1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "asr-headroom/results/2"}, "its schema is 'asr-headroom/results/2', this version reads"),
        ({"schema": None}, "its schema is None"),
        ({"name": None}, "'name' is None, it must be text"),
        ({"model": "whisper"}, "'model' is 'whisper', it must be an object"),
        ({"normalizer": None}, "'normalizer' is None"),
        ({"decoding_hash": 12}, "'decoding_hash' is 12"),
        ({"minutes": {"train": "9"}}, "minutes of 'train' are '9'"),
        ({"minutes": {"train": -1.0}}, "minutes of 'train' are -1.0"),
        ({"minutes": {"train": float("inf")}}, "minutes of 'train' are inf"),
        ({"status": "done"}, "'status' is 'done', it must be one of running, complete"),
        ({"seed": 1.5}, "'seed' is 1.5, it must be an integer or null"),
        ({"parent": ["a"]}, r"'parent' is \['a'\]"),
        ({"wer": 0.1}, "unexpected keyword argument 'wer'"),
    ],
)
def test_malformed_runs_say_where_and_what(change, message):
    with pytest.raises(ResultsError, match=message) as caught:
        run_from_json({"schema": SCHEMA, "name": "x"} | change, "run/run.json")
    assert str(caught.value).startswith("run/run.json: ")


@pytest.mark.parametrize("plain", [None, [], "run", 3, {}])
def test_what_is_no_run_at_all(plain):
    with pytest.raises(ResultsError, match="its schema is None"):
        run_from_json(plain, "run.json")


def test_a_run_needs_a_name():
    with pytest.raises(ResultsError, match="missing 1 required keyword-only argument: 'name'"):
        run_from_json({"schema": SCHEMA}, "run.json")
    assert run_from_json({"schema": SCHEMA, "name": "x"}, "run.json") == RunInfo(name="x")
