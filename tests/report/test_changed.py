import dataclasses

import pytest

from asr_headroom.metrics.alignment import align
from asr_headroom.report.changed import Span, diff_spans, list_changes, show_clips, show_listings
from asr_headroom.report.tables import build_tables
from asr_headroom.testing.results import make_results


@pytest.mark.parametrize(
    ("reference", "hypothesis", "spans"),
    [
        ("un chat noir", "un chat noir", [Span("equal", "un chat noir")]),
        ("un chat noir dort", "un chien gris dort", [
            Span("equal", "un"), Span("wrong", "chien gris", "chat noir"), Span("equal", "dort"),
        ]),
        ("un chat", "un petit chat", [Span("equal", "un"), Span("wrong", "petit"), Span("equal", "chat")]),
        ("un chat noir", "noir", [Span("missing", "un chat"), Span("equal", "noir")]),
        ("", "un", [Span("wrong", "un")]),
        ("", "", []),
    ],
)  # fmt: skip
def test_stretches_of_words(reference, hypothesis, spans):
    assert diff_spans(align(reference.split(), hypothesis.split()), "word") == spans


def test_stretches_of_characters_are_not_spaced():
    spans = diff_spans(align(list("你好吗我"), list("你号码我")), "character")
    assert spans == [Span("equal", "你"), Span("wrong", "号码", "好吗"), Span("equal", "我")]


def test_every_comparison_is_listed_and_a_long_list_is_cut(base, tuned):
    (listing,) = list_changes(build_tables([base, tuned]))
    assert len(listing.better) == len(listing.changes.better) == 17
    assert len(listing.worse) == len(listing.changes.worse) == 2
    many = [(f"un {i}", "un") for i in range(450)]
    perfect = [(reference, reference) for reference, _ in many]
    tables = build_tables([make_results(perfect, name="a"), make_results(many, name="b")])
    (listing,) = list_changes(tables)
    (shown,) = show_listings([listing], show_clips([listing], 0))
    assert (len(shown["utterances"]), shown["hidden"], shown["num_worse"]) == (200, 250, 450)


def test_a_recording_shown_twice_is_embedded_once(base, tuned, recordings):
    def with_audio(results):
        rows = [dataclasses.replace(p, audio=str(a)) for p, a in zip(results.predictions, recordings, strict=True)]
        return dataclasses.replace(results, predictions=rows)

    second = dataclasses.replace(tuned, run=dataclasses.replace(tuned.run, name="second"))
    listings = list_changes(build_tables([with_audio(r) for r in (base, tuned, second)]))
    shelf = show_clips(listings, 50)
    first, again = show_listings(listings, shelf)
    assert len(shelf.uris) == 19
    assert all(u["uri"] for u in first["utterances"])
    assert [u["uri"] for u in again["utterances"]] == [None] * 19
    assert {u["played_at"] for u in again["utterances"]} == {u["anchor"] for u in first["utterances"]}
