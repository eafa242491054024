import numpy as np
import pytest

from asr_headroom.errors import ShapeError, UsageError
from asr_headroom.metrics.clustering import MIN_CLUSTERS, choose_clusters, cross_clusters, label_clusters


def test_speakers_when_there_are_enough():
    speakers = [f"p{i % MIN_CLUSTERS}" for i in range(60)]
    clustering = choose_clusters(speakers, ["same"] * 60)
    assert (clustering.by, clustering.num_clusters, clustering.population) == ("speaker", MIN_CLUSTERS, "new speakers")


def test_sentences_when_speakers_are_few_and_sentences_repeat():
    clustering = choose_clusters(["a", "b", "a", "b"], ["x", "x", "y", "z"])
    assert clustering.by == "sentence"
    assert clustering.labels.tolist() == [0, 0, 1, 2]
    assert clustering.population == "new sentences by the same 2 speakers"


def test_utterances_when_nothing_repeats():
    clustering = choose_clusters([None, "b"], ["x", "y"])
    assert (clustering.by, clustering.population) == ("utterance", "new utterances by the same mix of speakers")


def test_sentences_read_by_many_speakers_cross_with_them():
    speakers, sentences = [f"p{i % 20}" for i in range(120)], [f"s{i % 50}" for i in range(120)]
    clustering = choose_clusters(speakers, sentences)
    assert clustering.by == "sentence+speaker"
    assert clustering.population == "new sentences by new speakers"
    assert clustering.num_clusters == 20
    assert [len(set(way.labels.tolist())) for way in clustering.ways] == [50, 20]


def test_sentences_that_only_one_speaker_repeats_lie_within_speakers():
    speakers = [f"p{i // 4}" for i in range(80)]
    sentences = [f"s{i // 2}" for i in range(80)]
    assert choose_clusters(speakers, sentences).by == "speaker"


def test_few_speakers_asked_for_are_called_too_few():
    clustering = choose_clusters(["a", "b"] * 4, list("abcdefgh"), "speaker")
    assert "only 2 here: too few" in clustering.population


def test_any_label():
    clustering = label_clusters([("lab", day) for day in [3, 3, 1, 4] * 5], "session", population="new sessions here")
    assert clustering.labels.tolist() == [0, 0, 1, 2] * 5
    assert (clustering.by, clustering.population, clustering.num_clusters) == ("session", "new sessions here", 3)
    assert "only 3 here" in label_clusters([1, 2, 3], "session").population


def test_no_utterances():
    assert choose_clusters([], []).num_clusters == 0
    assert np.array_equal(label_clusters([], "session").labels, [])


def test_refusals():
    with pytest.raises(UsageError, match="1 of 2 utterances name no speaker"):
        choose_clusters(["a", None], ["x", "y"], "speaker")
    with pytest.raises(UsageError, match="1 of 2 utterances name no speaker"):
        choose_clusters(["a", None], ["x", "y"], "sentence+speaker")
    with pytest.raises(UsageError, match="cannot cluster by 'word'"):
        choose_clusters(["a"], ["x"], "word")
    with pytest.raises(ShapeError, match="2 speakers for 1 sentences"):
        choose_clusters(["a", "b"], ["x"])
    with pytest.raises(ShapeError, match="2 utterances by room but 3 by day"):
        cross_clusters(label_clusters("ab", "room"), label_clusters("abc", "day"))
