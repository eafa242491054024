import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_headroom.analysis.slices import UNKNOWN, slice_results
from asr_headroom.errors import ResultsError, UsageError
from asr_headroom.metrics.multiplicity import holm_adjusted
from asr_headroom.testing.results import make_results
from asr_headroom.text.normalize import get_normalizer

FR = get_normalizer("fr")
WORDS = ["un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf"]


def results(wrong, name="system", seed=0, **columns):
    """One utterance of ten words for each number of wrong words; ``columns`` are fields or extras by utterance."""
    texts = []
    for index, errors in enumerate(wrong):
        # Distinct references, so that clusters are utterances.
        reference = [*WORDS, f"mot{index}"]
        texts.append((" ".join(reference), " ".join(["x"] * errors + reference[errors:])))
    made = make_results(texts, name=name, speakers=columns.pop("speaker", None))
    durations = columns.pop("duration", [None] * len(texts))
    predictions = [
        dataclasses.replace(
            prediction,
            duration=durations[i],
            extras={name: values[i] for name, values in columns.items() if values[i] is not None},
        )
        for i, prediction in enumerate(made.predictions)
    ]
    return dataclasses.replace(made, predictions=predictions)


def by_label(column):
    return {part.label: part for part in column.slices}


def test_rates_of_named_slices_the_largest_first():
    place = ["street"] * 20 + ["studio"] * 30 + ["moon"] * 3 + [None] * 2
    report = slice_results(results([4] * 20 + [1] * 30 + [9] * 3 + [0] * 2, place=place), normalizer=FR)
    (column,) = report.columns
    assert (column.name, column.kind) == ("place", "names")
    assert [(part.label, part.num_utterances) for part in column.slices] == [
        ("studio", 30),
        ("street", 20),
        ("moon", 3),
        (UNKNOWN, 2),
    ]
    slices = by_label(column)
    assert [slices[label].base.rate for label in ("studio", "street")] == [0.1, 0.4]
    assert slices["moon"].base is None, "three utterances have no rate worth showing"
    assert (slices["moon"].num_clusters, slices["moon"].reference_length) == (3, 30)


def test_a_slice_agrees_with_the_run_of_only_its_utterances():
    """The interval of a slice is that of scoring the slice alone."""
    from asr_headroom.analysis.scoring import score_results

    rng = random.Random(1)
    place = rng.choices(["a", "b"], k=80)
    run = results([rng.randrange(6) for _ in place], place=place)
    for part in slice_results(run, normalizer=FR, columns=["place"]):
        alone = [p for p in run.predictions if p.extras["place"] == part.label]
        assert part.base == score_results(dataclasses.replace(run, predictions=alone), normalizer=FR).estimate


def test_numbers_are_cut_at_quantiles_exactly_where_the_label_says():
    durations = [i / 10 for i in range(1, 101)]
    report = slice_results(results([1] * 100, duration=durations), normalizer=FR, columns=["duration"])
    (column,) = report.columns
    assert column.kind == "bands"
    assert [part.label for part in column.slices] == ["below 2.58", "2.58 to 5.05", "5.05 to 7.53", "7.53 or more"]
    assert [part.num_utterances for part in column.slices] == [25, 25, 25, 25]


@settings(max_examples=60, deadline=None)
@given(numbers=st.lists(st.none() | st.floats(-1e6, 1e6).map(lambda x: round(x, 2)), min_size=1, max_size=40))
def test_every_utterance_is_in_exactly_the_band_its_label_says(numbers):
    report = slice_results(results([0] * len(numbers), level=numbers), normalizer=FR, columns=["reference words"])
    assert sum(part.num_utterances for part in report) == len(numbers)
    if all(number is None for number in numbers):
        return
    (column,) = slice_results(results([0] * len(numbers), level=numbers), normalizer=FR, columns=["level"]).columns
    assert sum(part.num_utterances for part in column.slices) == len(numbers)
    for part in column.slices:
        words = part.label.split()
        if part.label == UNKNOWN:
            inside = numbers.count(None)
        elif column.kind == "names":
            inside = sum(number is not None and f"{number:g}" == part.label for number in numbers)
        elif words[0] == "below":
            inside = sum(number is not None and number < float(words[1]) for number in numbers)
        elif words[-1] == "more":
            inside = sum(number is not None and number >= float(words[0]) for number in numbers)
        else:
            inside = sum(number is not None and float(words[0]) <= number < float(words[2]) for number in numbers)
        assert part.num_utterances == inside, part.label


def test_numbers_kept_as_text_are_numbers_and_few_values_are_names():
    texts = [str(i) for i in range(40)]
    channels = [1, 2] * 20
    made = results([1] * 40, age=texts, channel=channels, far=[True, False] * 20)
    report = slice_results(made, normalizer=FR, columns=["age", "channel", "far"], min_clusters=5)
    kinds = {column.name: (column.kind, len(column.slices)) for column in report.columns}
    assert kinds == {"age": ("bands", 4), "channel": ("names", 2), "far": ("names", 2)}
    assert {part.label for part in report if part.column == "far"} == {"yes", "no"}


def test_names_that_look_like_numbers_stay_names():
    numbers = [str(1000 + i % 10) for i in range(200)]
    made = results([1] * 200, speaker=numbers, session_id=numbers, year=numbers)
    report = slice_results(made, normalizer=FR, columns=["speaker", "session_id", "year"], min_clusters=2)
    assert [column.kind for column in report.columns] == ["names", "names", "bands"]


def test_paired_differences_are_adjusted_over_all_slices():
    wrong = [random.Random(2).randrange(1, 5) for _ in range(80)]
    place, voice = ["a", "b"] * 40, ["f"] * 40 + ["m"] * 40
    # Only place b improves.
    better = [errors - (1 if where == "b" else 0) for errors, where in zip(wrong, place, strict=True)]
    base = results(wrong, name="base", place=place, voice=voice)
    report = slice_results(base, results(better, place=place, voice=voice), normalizer=FR)
    assert [column.name for column in report.columns] == ["place", "voice"]
    parts = list(report)
    assert [part.holm_p for part in parts] == holm_adjusted([part.comparison.p_value for part in parts])
    slices = by_label(report.columns[0])
    assert slices["a"].comparison.difference == 0
    assert slices["b"].comparison.difference == pytest.approx(-0.1)
    assert (slices["a"].tells, slices["b"].tells) == (False, True)
    assert report.smallest_that_tells == slices["b"]


def test_by_speaker_resamples_what_the_speaker_said():
    speakers = ["anna"] * 20 + ["ben"] * 16 + ["carl"] * 4
    report = slice_results(results([2] * 20 + [1] * 20, speaker=speakers), normalizer=FR, columns=["speaker"])
    slices = by_label(report.columns[0])
    assert [(part.num_clusters, part.base and part.base.rate) for part in slices.values()] == [
        (20, 0.2),
        (16, 0.1),
        (4, None),
    ]


def test_other_columns_keep_speakers_whole():
    """Twenty speakers in all, but the slice of ten of them is ten clusters, however many utterances."""
    speakers = [f"s{i % 20}" for i in range(200)]
    accent = ["north" if i % 20 < 16 else "south" for i in range(200)]
    report = slice_results(
        results([1] * 200, speaker=speakers, accent=accent), normalizer=FR, columns=["accent", "speaker"]
    )
    north, south = report.columns[0].slices
    assert (north.num_clusters, north.base.cluster_by) == (16, "speaker")
    assert (south.num_utterances, south.num_clusters, south.base) == (40, 4, None)
    assert all(part.num_clusters == 10 for part in report.columns[1].slices)


def test_columns_that_say_nothing_are_left_out_with_the_reason():
    report = slice_results(results([1] * 30, device=["phone"] * 30, row=list(map(str, range(30)))), normalizer=FR)
    assert report.columns == ()
    reasons = dict(report.left_out)
    assert reasons["device"] == "the same for all utterances (phone)"
    assert reasons["row"].startswith("4 slices, of which 0 with at least 15 clusters")
    assert "reference words" in reasons


def test_what_somebodys_scoring_left_in_a_file_is_no_slice():
    wrong = [0, 5] * 20
    made = results(
        wrong,
        wer=[n / 10 for n in range(40)],
        ref_norm=[f"text {n}" for n in range(40)],
        comment=[f"note {n}" for n in range(40)],
        hyp_text=["a", "b"] * 20,
        scores=["1", "2"] * 20,
    )
    report = slice_results(made, normalizer=FR)
    assert [column.name for column in report.columns] == ["scores"]
    reasons = dict(report.left_out)
    assert reasons["wer"] == reasons["hyp_text"] == reasons["ref_norm"]
    assert reasons["comment"] == "40 different texts; it names utterances, not groups of them"
    assert [column.name for column in slice_results(made, normalizer=FR, columns=["wer"]).columns] == ["wer"]


def test_the_columns_of_either_run_serve():
    place = ["a", "b"] * 20
    imported = results([2] * 40, name="imported")
    report = slice_results(imported, results([1] * 40, place=place), normalizer=FR)
    assert {part.label: part.comparison.difference for part in report} == {
        "a": pytest.approx(-0.1),
        "b": pytest.approx(-0.1),
    }


def test_empty_references_have_no_rate():
    made = make_results([("", "bruit")] * 20)
    (column,) = slice_results(made, normalizer=FR, columns=["reference words"], min_clusters=2).columns
    assert [(part.label, part.num_utterances, part.base) for part in column.slices] == [("0", 20, None)]


def test_nested_columns_and_unusable_values():
    extras = {
        "recording": {"room": "hall", "snr": 12.5},
        "tags": ["x"],
        "nan": float("nan"),
        "blank": " ",
        "start": 1.5,
    }
    made = results([1] * 20)
    made = dataclasses.replace(made, predictions=[dataclasses.replace(p, extras=extras) for p in made.predictions])
    left_out = dict(slice_results(made, normalizer=FR).left_out)
    assert set(left_out) == {"recording.room", "recording.snr", "reference words"}


def test_mistakes_are_named():
    made = results([1] * 20, place=["a", "b"] * 10)
    with pytest.raises(UsageError, match=r"no column 'plase' to slice by; did you mean 'place'\? \(there are: place, "):
        slice_results(made, normalizer=FR, columns=["plase"])
    with pytest.raises(UsageError, match="an interval needs at least 2"):
        slice_results(made, normalizer=FR, min_clusters=1)
    with pytest.raises(ResultsError, match="holds no predictions"):
        slice_results(dataclasses.replace(made, predictions=[]), normalizer=FR)
    with pytest.raises(ResultsError, match="not tested on the same utterances"):
        slice_results(made, dataclasses.replace(made, predictions=made.predictions[1:]), normalizer=FR)
