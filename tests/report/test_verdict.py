import dataclasses
import json

import pytest

from asr_headroom.analysis.scoring import compare_results, score_results
from asr_headroom.report.tables import build_tables, to_markdown
from asr_headroom.report.verdict import (
    comparison_facts,
    comparison_json,
    format_count,
    format_p,
    format_points,
    score_facts,
    score_json,
    utterances_to_ask_for,
    verdict_headline,
    verdict_line,
    verdict_short,
)
from asr_headroom.testing.results import make_results


def test_better_line(base, tuned):
    line = verdict_line(compare_results(base, tuned))
    assert line.startswith("better: WER 5.56 % → 1.39 %, −4.17 points (95 % interval −")
    assert line.endswith("; 'base · lora' against 'base'")


def test_worse_line(base, tuned):
    pair = compare_results(tuned, base)
    assert verdict_line(pair).startswith("worse: WER 1.39 % → 5.56 %, +4.17 points")
    assert verdict_headline(pair) == "base is worse than base · lora, by 4.17 points"
    assert verdict_short(pair) == "base is worse than base · lora"


def test_open_line_says_what_it_would_take(base):
    texts = [(p.reference, p.hypothesis) for p in base.predictions]
    texts[0] = (texts[0][0], texts[0][0])
    texts[1] = (texts[1][0], "la phrase")
    pair = compare_results(base, make_results(texts, name="other"))
    needed = utterances_to_ask_for(pair.comparison)
    assert needed > 0
    assert verdict_line(pair).startswith(f"cannot tell; you would need about {needed:,} more utterances to settle")
    assert verdict_headline(pair).startswith(f"Cannot tell other from base; you would need about {needed:,} more")


def test_identical_systems_need_nothing_more(base):
    pair = compare_results(base, base)
    assert verdict_line(pair).startswith(
        "cannot tell; both make exactly as many errors: WER 5.56 % → 5.56 %, 0.00 points"
    )
    assert comparison_json(pair)["utterances_needed"] is None


@pytest.mark.parametrize("number", [1, 3])
def test_a_handful_of_utterances_is_called_too_few(number):
    wrong = make_results([(f"un {i}", "x") for i in range(number)])
    right = make_results([(f"un {i}", f"un {i}") for i in range(number)])
    pair = compare_results(wrong, right)
    assert verdict_line(pair).startswith(
        f"cannot tell; you would need about {15 - number} more utterances, as {number} "
    )
    assert "too few for any verdict" in verdict_line(pair)


def test_a_single_utterance_has_no_interval():
    pair = compare_results(make_results([("un", "x")]), make_results([("un", "un")]))
    plain = comparison_json(pair)
    assert plain["ci_low"] is plain["ci_high"] is plain["p_value"] is plain["minimal_detectable_effect"] is None
    assert "a single cluster has no interval" in verdict_line(pair)
    assert score_json(score_results(make_results([("un", "x")])))["ci_low"] is None


def test_a_system_compared_with_itself_has_neither_interval_nor_detectable_effect(base):
    pair = compare_results(base, base)
    plain = comparison_json(pair)
    assert plain["ci_low"] is plain["ci_high"] is plain["minimal_detectable_effect"] is None
    assert plain["p_value"] == 1.0
    facts = dict(comparison_facts(pair))
    assert facts["difference"].startswith("0.00 points (the same in every cluster, so without interval; p = 1.00)")
    assert facts["detectable"] == "not known: the difference is the same in every cluster"


def test_an_error_free_system_has_no_interval_of_zero_to_zero(bigger):
    score = score_results(bigger)
    assert score_facts(score)[0][1] == "0.00 %  (95 % interval none, the same rate in every cluster)"
    assert score_json(score)["ci_low"] is None


def test_no_table_shows_an_interval_that_is_a_point(base):
    single = [make_results([("un", "x")]), make_results([("un", "un")], name="b")]
    for runs, rate, difference in (([base, base], "5.56 % (", "0.00"), (single, "0.00 % (no interval)", "−100.00")):
        last = to_markdown(build_tables(runs)).split("\n\n")[2].splitlines()[-1]
        cells = [cell.strip() for cell in last.strip("|").split("|")]
        assert cells[3].startswith(rate)
        assert cells[4:7] == [difference, "cannot tell", "–"]


def test_numbers_asked_for_have_two_digits(base, tuned):
    comparison = compare_results(base, tuned).comparison
    for needed, asked in ((0, 1), (7, 7), (99, 99), (101, 110), (6543, 6600), (1_234_567, 1_300_000)):
        assert utterances_to_ask_for(dataclasses.replace(comparison, utterances_needed=needed)) == asked


def test_facts_name_population_clusters_and_detectable_effect(base, tuned):
    facts = dict(comparison_facts(compare_results(base, tuned)))
    assert facts["base"] == "5.56 % WER  base"
    assert facts["tested on"] == "40 utterances in 40 clusters (by utterance)"
    assert facts["holds for"] == "new utterances by the same mix of speakers"
    assert facts["detectable"].endswith("points is the smallest true difference that this test would show (80 % power)")
    assert "−75.00 % relative" in facts["difference"]


def test_json_holds_fractions_and_survives_json(base, tuned):
    plain = json.loads(json.dumps(comparison_json(compare_results(base, tuned)), allow_nan=False))
    assert plain["base"] == pytest.approx(20 / 360)
    assert plain["difference"] == pytest.approx(plain["system"] - plain["base"])
    assert plain["relative_change"] == pytest.approx(-0.75)
    assert plain["ci_low"] < plain["difference"] < plain["ci_high"] < 0
    assert (plain["n"], plain["clusters"], plain["verdict"]) == (40, 40, "better")


def test_headline_rate_comes_first():
    chinese = make_results([(f"你好吗{i}", "你好") for i in range(3)], normalizer_id="zh")
    facts = score_facts(score_results(chinese))
    assert [label for label, _ in facts[:3]] == ["CER", "WER", "MER"]
    assert "95 % interval" in facts[0][1]
    assert facts[1][1] == "no words apart in this normalizer"


def test_number_formats():
    assert [format_p(p) for p in (0.0009, 0.001, 0.0999, 0.1, 1.0)] == [
        "p < 0.001", "p = 0.001", "p = 0.100", "p = 0.10", "p = 1.00",
    ]  # fmt: skip
    assert [format_points(x) for x in (-0.00001, 0.00004, 0.1, -0.1)] == ["0.00", "0.00", "+10.00", "−10.00"]
    assert [format_count(n) for n in (0, 999, 1_000, 1_179_648, 37_760_640, 12_819_215_360)] == [
        "0", "999", "1.00 k", "1.18 M", "37.8 M", "12.8 B",
    ]  # fmt: skip


def guarded(texts, facts, name="tuned"):
    return make_results(texts, name=name, model={"method": "lora", "best_step": 300, "guard": facts})


def test_the_guard_is_quoted_where_it_kept_the_base(base, guard):
    texts = [(p.reference, p.hypothesis) for p in base.predictions]
    pair = compare_results(base, guarded(texts, guard(0.0, reason="Chinese got worse.")))
    assert verdict_short(pair) == "tuned kept base"
    assert verdict_headline(pair) == "tuned is base itself; the guard kept the base"
    assert verdict_line(pair).startswith("cannot tell; the guard kept the base, as Chinese got worse: WER")
    assert comparison_json(pair)["delivered"] == {"alpha": 0.0, "reason": "Chinese got worse"}


def test_a_point_between_base_and_tuned_is_told_in_plain_words(base, tuned, guard):
    texts = [(p.reference, p.hypothesis) for p in tuned.predictions]
    pair = compare_results(base, guarded(texts, guard(0.5)))
    assert dict(comparison_facts(pair))["delivered"] == "half way from the base (0.5): it is the best"
    assert verdict_headline(pair).startswith("tuned is better than base")
    assert "delivered" not in dict(comparison_facts(compare_results(base, tuned)))
    assert comparison_json(compare_results(base, tuned))["delivered"] is None


def test_a_kept_base_is_said_instead_of_more_utterances():
    texts = [(f"phrase {i} avec des mots", f"phrase {i} avec mots") for i in range(20)]
    kept = {"method": "lora", "best_step": 0}
    pair = compare_results(make_results(texts, name="base"), make_results(texts, name="tuned", model=kept))
    assert verdict_short(pair) == "tuned kept base"
    assert "| base kept |" in to_markdown(build_tables([pair.base, pair.system]))
    assert verdict_line(pair).startswith(
        "cannot tell; no training step beat the base on dev, so the base itself was kept: "
    )
