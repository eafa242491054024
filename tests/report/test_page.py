import dataclasses
import re
from html.parser import HTMLParser

import pytest

from asr_headroom.errors import UsageError
from asr_headroom.report.page import build_page, render_page
from asr_headroom.report.tables import build_tables
from asr_headroom.testing.results import make_results

VOID = {"meta", "br", "input", "link", "img"}


class Checker(HTMLParser):
    """Collects text, tags and addresses, and sees that elements nest."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes, self.addresses, self.text = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def check(html):
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    return checker


def visible(html):
    return " ".join(" ".join(check(html).text).split())


def test_first_screen_answers_the_question(base, tuned):
    text = visible(build_page([base, tuned], title="Our report"))
    head = text[: text.index("Systems")]
    assert "Our report" in head
    assert "base · lora is better than base, by 4.17 points." in head
    assert "WER 5.56 % → 1.39 %" in head
    assert (
        "Why: mostly hearing: something else was heard, −4.17 of the −4.17 points between the texts as written" in head
    )
    assert "2 utterances worse, 17 better, 21 as before." in head
    assert "new utterances by the same mix of speakers" in head


def test_sections_fold_and_only_those_with_something_appear(base, tuned):
    html = build_page([base, tuned], title="x")
    folds = re.findall(r'<details class="section" id="(\w+)"( open)?>', html)
    assert folds == [("systems", " open"), *((name, "") for name in TWO_SYSTEMS)]
    alone = re.findall(r'<details class="section" id="(\w+)"', build_page([base], title="x"))
    assert alone == ["systems", "audit", "distribution", "plots", "minutes", "provenance", "reading"]


TWO_SYSTEMS = ("causes", "kinds", "regressions", "statistics", "audit", "changed", "distribution", "plots", "minutes",
               "provenance", "reading")  # fmt: skip


def test_a_margin_is_judged_when_asked_for(base, tuned):
    tables = build_tables([base, tuned])
    assert "The system is worse by less than 1 points" in visible(render_page(tables, title="x", margin=0.01).html)
    assert "by less than 1 points" not in visible(render_page(tables, title="x").html)


def test_statistics_are_sentences(base, tuned):
    text = visible(build_page([base, tuned], title="x"))
    assert "The interval excludes zero: a difference, for new utterances by the same mix of speakers." in text
    assert "17 sentences right only in the system, 2 only in the base" in text


def test_strip_stands_where_the_numbers_say(base, tuned):
    html = build_page([base, tuned], title="x")
    left, right, zero, point = (
        float(re.search(pattern, html)[1])
        for pattern in (
            r'class="line" style="left: ([\d.]+)%',
            r'class="line" style="left: [\d.]+%; right: ([\d.]+)%',
            r'class="zero" style="left: ([\d.]+)%',
            r'class="point" style="left: ([\d.]+)%',
        )
    )
    assert left < point < 100 - right < zero


def test_page_is_self_contained(base, tuned, recordings):
    base = with_audio(base, recordings)
    html = build_page([base, tuned], title="x")
    checker = check(html)
    assert all(address.startswith(("#", "data:audio/mpeg;base64,")) for address in checker.addresses)
    assert "link" not in checker.tags
    assert "url(http" not in html
    assert "@import" not in html
    assert checker.tags.count("script") == 1


def with_audio(results, recordings):
    rows = [dataclasses.replace(p, audio=str(a)) for p, a in zip(results.predictions, recordings, strict=True)]
    return dataclasses.replace(results, predictions=rows)


def test_everything_foreign_is_escaped(base, tuned):
    evil = '<script>alert("1")</script><img src=x onerror=alert(1)>\'"&'
    rows = [
        dataclasses.replace(p, id=f"{p.id}{evil}", reference=p.reference + evil, hypothesis=h + evil, speaker=evil)
        for p, h in zip(base.predictions, ["", "x"] * 20, strict=True)
    ]
    other = [dataclasses.replace(row, hypothesis=row.reference) for row in rows]
    facts = {"model": {"id": evil, evil: evil}, "minutes": {evil: 1.0}, "provenance": {evil: {evil: evil}}}
    runs = []
    for name, predictions in ((evil, rows), ("other", other)):
        run = dataclasses.replace(
            base.run, name=name, data={"name": evil}, decoding_hash=name, normalizer={"id": "fr"}, **facts
        )
        runs.append(dataclasses.replace(base, run=run, predictions=predictions))
    html = build_page(runs, title=evil)
    checker = check(html)
    assert checker.tags.count("script") == 1
    assert "img" not in checker.tags
    assert not [name for name in checker.attributes if name.startswith("on")]
    assert evil in "".join(checker.text)


def test_changed_utterances_show_both_systems(base, tuned):
    html = build_page([base, tuned], title="x")
    text = visible(html)
    assert "2 worse , 17 better , 21 with as many errors (21 of them the same text)" in text
    assert '<del title="not heard">plus</del>' in html


def test_audio_is_embedded_up_to_the_limit(base, tuned, recordings):
    tables = build_tables([with_audio(base, recordings), tuned])
    page = render_page(tables, title="x", max_clips=5)
    assert (page.num_clips, page.num_clips_left_out, page.num_clips_missing) == (5, 14, 0)
    assert page.html.count("<audio") == 5
    assert "5 recordings embedded, 14 left out to keep the page small" in visible(page.html)
    none = render_page(tables, title="x", max_clips=0)
    assert "<audio" not in none.html
    assert none.num_clips_left_out == 19


def test_missing_audio_is_said(base, tuned, recordings):
    for path in recordings:
        path.unlink()
    page = render_page(build_tables([with_audio(base, recordings), tuned]), title="x")
    assert (page.num_clips, page.num_clips_missing) == (0, 19)
    assert "19 could not be read" in visible(page.html)
    assert f"no audio: no such file: {recordings[0].parent}" in visible(page.html)


def test_no_audio_named_is_said(base, tuned):
    assert "No recordings: the runs name no audio files." in visible(build_page([base, tuned], title="x"))


def test_ledger_provenance_and_notes(base, tuned):
    tuned = dataclasses.replace(
        tuned,
        run=dataclasses.replace(
            tuned.run,
            seed=42,
            decoding={"window": "fitted"},
            decoding_hash="abc123",
            provenance={"revision": "f00"},
        ),
    )
    text = visible(build_page([base, tuned], title="x"))
    assert "train steps 3.0, transcribe 0.5" in text
    assert "decoding hash abc123" in text
    assert "revision f00" in text
    assert "seed 42" in text
    assert (
        "Warning: the two were decoded differently (decoding hash unknown and abc123; window None and fitted)" in text
    )
    assert "They cover new utterances by the same mix of speakers." in text
    assert "window fitted" in text


def test_one_system_alone(base):
    text = visible(build_page([base], title="x"))
    assert "1 system on 1 test set; none is compared with another" in text
    assert "What changed" not in text


def test_many_comparisons_are_counted_and_corrected(base, tuned, bigger):
    text = visible(build_page([base, tuned, bigger], title="x", base="base"))
    assert text[text.index("} x Best: ") :].startswith("} x Best: bigger, WER 0.00 %; better than all 2 others.")
    assert "base · lora is better than base WER 5.56 % → 1.39 %" in text
    assert "With 2 comparisons one in twenty looks real by chance" in text
    assert "bigger on a test" in text


def test_unequal_tests_are_never_compared(base, tuned, other_test):
    other = dataclasses.replace(tuned, run=dataclasses.replace(tuned.run, data={"name": "elsewhere"}))
    text = visible(build_page([base, other, other_test], title="x"))
    assert "none is compared with another" in text


def test_characters_are_not_spaced_in_chinese():
    base = make_results(
        [("今天天气很好", "今天天汽很好")] * 1 + [(f"你好{i}", "你") for i in range(9)], normalizer_id="zh"
    )
    system = make_results([(p.reference, p.reference) for p in base.predictions], name="s", normalizer_id="zh")
    html = build_page([base, system], title="x")
    assert '今天天<ins title="instead of: 气">汽</ins>很好' in html


def elsewhere(results):
    return dataclasses.replace(
        results, run=dataclasses.replace(results.run, data={"name": "far", "fingerprint": "f"}, language="zh")
    )


def guarded(results, facts):
    run = dataclasses.replace(results.run, model={**results.run.model, "guard": facts})
    return dataclasses.replace(results, run=run)


def section(text, start, end):
    return text[text.index(start) : text.index(end)]


def test_gain_and_damage_stand_together(base, tuned, guard):
    tuned = guarded(tuned, guard(0.5))
    html = build_page([base, tuned, elsewhere(base), elsewhere(tuned)], title="x")
    text = visible(html)
    damage = section(text, "Gain and damage Change", "Plots")
    assert "a test target far other language" in damage
    assert damage.count("−4.17") == 2
    assert "12.0 → 6.5 words per minute, better half way from the base (0.5) it is the best" in damage
    assert "change in error rate against the base" in damage
    assert html.count('aria-label="On the way from the base') == 1
    assert "Delivered half way from the base (0.5)" in text[: text.index("Systems")]
    assert "were spent, and count here, once" in text
    assert "the guard sets as a veto" in text


def test_without_guard_two_tests_have_the_table_and_one_has_not(base, tuned):
    both = visible(build_page([base, tuned, elsewhere(base), elsewhere(tuned)], title="x"))
    damage = section(both, "Gain and damage Change", "Plots")
    assert damage.count("−4.17") == 2
    assert "silence" not in damage
    assert "delivered" not in both
    assert "Gain and damage" not in visible(build_page([base, tuned], title="x"))


def test_a_base_kept_by_the_guard_heads_the_page(base, guard):
    texts = [(p.reference, p.hypothesis) for p in base.predictions]
    model = {"method": "lora", "best_step": 9, "guard": guard(0.0, reason="Chinese got worse.")}
    kept = make_results(texts, name="tuned", language="fr", parent="base", model=model)
    text = visible(build_page([base, kept], title="x"))
    head = text[: text.index("Systems")]
    assert "tuned is base itself; the guard kept the base." in head
    assert "delivered the base itself (0): Chinese got worse" in head
    assert "base kept" in text
    assert "0.00 to 0.00" not in text
    assert "0.00 points (no interval, p = 1.00 )" in text


def test_one_utterance_has_neither_interval_nor_p():
    runs = [make_results([("un", hypothesis)], name=name) for name, hypothesis in (("a", "x"), ("b", "un"))]
    text = visible(build_page(runs, title="x"))
    assert "(no interval)" in text
    assert "100.00–100.00" not in text
    assert "p < 0.001" not in text


def test_no_results():
    with pytest.raises(UsageError, match="no results to show"):
        build_page([], title="x")
