"""Truths found another way: Shapley values by all orders of removal, spelled out."""

import itertools
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from asr_headroom.analysis.causes import CAUSES, split_difference, split_errors, start_profile
from asr_headroom.analysis.formats import match_spacing, rewrites_for
from asr_headroom.errors import ResultsError
from asr_headroom.metrics.error_rate import ErrorCounts, UtteranceCounts, count_errors, count_pair
from asr_headroom.metrics.significance import choose_clusters, compare_rates
from asr_headroom.results.schema import Prediction, RunInfo
from asr_headroom.results.store import Results
from asr_headroom.text.normalize import get_normalizer
from asr_headroom.text.units import split_units

ZH, FR = get_normalizer("study-zh"), get_normalizer("study-fr")
REMOVABLE = ("script", "case", "numerals", "punctuation", "loops", "spacing")
UNCOUNTED = UtteranceCounts(ErrorCounts(), ErrorCounts())


def run(pairs, language, name="system"):
    predictions = [
        Prediction(id=f"{i:04d}", reference=reference, hypothesis=hypothesis, counts=UNCOUNTED)
        for i, (reference, hypothesis) in enumerate(pairs)
    ]
    return Results(RunInfo(name=name, language=language, status="complete"), predictions)


def of_cause(pair, language, normalizer, cause):
    return split_errors(run([pair], language), normalizer).share(cause).errors


@pytest.mark.parametrize(
    ("pair", "language", "normalizer", "cause", "errors"),
    [
        (("后面的国家", "後面的國家"), "zh", ZH, "script", 2),
        (("他来了吗", "他来了" + "吗" * 100), "zh", ZH, "loops", 99),
        (("une boda boda ici", "une bodaboda ici"), "fr", FR, "spacing", 2),
        (("il pleut", "«»«»"), "fr", FR, "empty", 2),
        (("il pleut", ""), "fr", FR, "empty", 2),
        (("le chat dort ici", "this is what the dog of the house was"), "fr", FR, "wrong_language", 9),
        (("le chat dort", "le rat dort"), "fr", FR, "acoustic", 1),
    ],
)
def test_one_cause_alone(pair, language, normalizer, cause, errors):
    split = split_errors(run([pair], language), normalizer)
    assert split.errors == errors
    assert {share.cause.id: share.errors for share in split.shares if share.errors} == {cause: errors}
    assert split.share(cause).share == 1


def by_all_orders(reference, hypothesis, language, normalizer):
    """Shapley's definition: over all orders of removal, what each cause took away when its turn came."""
    rewrites = rewrites_for(language)

    def errors(removed):
        texts = [reference, hypothesis]
        for cause in REMOVABLE[:-1]:
            if cause in removed:
                texts = [rewrites[cause](text) for text in texts]
        sides = [split_units(normalizer(text), normalizer.unit) for text in texts]
        if "spacing" in removed:
            sides = match_spacing(*sides, normalizer.unit)
        return count_errors(*sides).errors

    values = dict.fromkeys(REMOVABLE, 0.0)
    orders = list(itertools.permutations(REMOVABLE))
    for order in orders:
        for turn, cause in enumerate(order):
            values[cause] += (errors(order[:turn]) - errors(order[: turn + 1])) / len(orders)
    return values | {"acoustic": float(errors(REMOVABLE))}


@pytest.mark.parametrize(
    ("reference", "hypothesis", "language", "normalizer"),
    [
        ("“后面”的國家ＡＢ", "後面、的国家AB是是是是是是是是是是是是是是是是是是是是是", "zh", ZH),
        ("L'œuf, c'est-à-dire un peut être.", "l'oeuf c'est à dire Un peut-être très très bon", "fr", FR),
        ("A b c, d.", "a B c d " + "d " * 12, None, FR),
    ],
)
def test_values_are_those_of_all_orders(reference, hypothesis, language, normalizer):
    expected = by_all_orders(reference, hypothesis, language, normalizer)
    split = split_errors(run([(reference, hypothesis)], language), normalizer)
    for cause, errors in expected.items():
        assert split.share(cause).errors == pytest.approx(errors, abs=1e-8), cause


PAIRS = (
    ("后面的国家", "後面的國家"),
    ("他来了吗", "他来" + "吗" * 60),
    ("今天很好", "今天不好"),
    ("是的", ""),
    ("我们走", "我們走了"),
)


def test_parts_add_up_to_the_rate():
    results = run(PAIRS, "zh")
    split = split_errors(results, ZH)
    total = results.total(ZH)
    assert split.errors == total.errors
    assert split.rate == pytest.approx(total.error_rate)
    assert sum(share.rate for share in split.shares) == pytest.approx(split.rate, abs=1e-12)
    assert sum(split.group_rate(group) for group in ("format", "output", "hearing")) == pytest.approx(split.rate)
    assert [share.cause for share in split.shares] == list(CAUSES)
    for row, (reference, hypothesis) in zip(split.by_utterance, PAIRS, strict=True):
        assert row.sum() == pytest.approx(count_pair(reference, hypothesis, ZH).characters.errors)


def test_difference_is_the_difference_of_the_parts_and_turns_with_its_sides():
    base, system = run(PAIRS, "zh", "base"), run([(r, r) for r, _ in PAIRS], "zh")
    forth, back = split_difference(base, system, ZH), split_difference(system, base, ZH)
    assert forth.difference == pytest.approx(-forth.base.rate)
    assert sum(part.difference for part in forth.parts) == pytest.approx(forth.difference)
    assert sum(part.share for part in forth.parts) == pytest.approx(1)
    assert [p.difference for p in back.parts] == pytest.approx([-p.difference for p in forth.parts])
    assert forth.ranked[0].cause.id == "loops"
    for part in forth.parts:
        assert part.comparison.difference == pytest.approx(part.difference, abs=1e-12)
        assert part.comparison.interval.low - 1e-12 <= part.difference <= part.comparison.interval.high + 1e-12


def test_interval_agrees_with_a_comparison_of_error_counts():
    """Where acoustic errors are all there is, its interval is that of the error rates."""
    rng = np.random.default_rng(0)
    words = [f"mot{i}" for i in range(9)]
    pairs = [(" ".join(words), " ".join(w if rng.random() > 0.3 else "zut" for w in words)) for _ in range(40)]
    base, system = run(pairs, "fr"), run([(r, r) for r, _ in pairs], "fr")
    split = split_difference(base, system, FR, cluster="utterance")
    acoustic = next(part for part in split.parts if part.cause.id == "acoustic")
    errors = [count_pair(r, h, FR).words.errors for r, h in pairs]
    plain = compare_rates(
        errors, [0] * 40, [9] * 40, choose_clusters([None] * 40, ["s"] * 40, "utterance"), resamples=5000
    )
    assert acoustic.comparison.interval == plain.interval


def test_p_values_are_adjusted_for_the_causes_that_occur():
    base, system = run(PAIRS * 4, "zh"), run([(r, r) for r, _ in PAIRS * 4], "zh")
    split = split_difference(base, system, ZH)
    occurring = sorted(p.comparison.p_value for p in split.parts if p.base or p.system)
    first = min(split.parts, key=lambda p: p.comparison.p_value)
    assert first.holm_p == pytest.approx(min(1, occurring[0] * len(occurring)))
    assert all(p.holm_p == 1 for p in split.parts if not p.base and not p.system)


def test_capping_and_overlong():
    split = split_errors(run([("他来了", "他来了" + "吗" * 100), ("好的", "好吧")], "zh"), ZH)
    assert split.overlong() == (1, 100)
    assert split.rate_capped == pytest.approx((3 + 1) / 5)
    assert split.rate == pytest.approx(101 / 5)


def test_nothing_wrong_is_nothing_to_share():
    split = split_errors(run([("oui", "oui")], "fr"), FR)
    assert split.errors == 0
    assert all(share.errors == 0 and share.share == 0 for share in split.shares)
    difference = split_difference(run([("oui", "oui")], "fr"), run([("oui", "oui")], "fr"), FR)
    assert difference.ranked == ()
    assert all(part.share is None for part in difference.parts)


def test_refusals():
    with pytest.raises(ResultsError, match="no predictions"):
        split_errors(run([], "fr"), FR)
    with pytest.raises(ResultsError, match="no reference holds"):
        split_errors(run([("«»", "oui")], "fr"), FR)


def test_profile_hides_no_format():
    assert start_profile("fr-FR").id == "study-fr"
    assert start_profile("zh").id == "study-zh"


SHARED = Path(os.environ.get("ASR_HEADROOM_SHARED", Path(__file__).parents[2].parent / "shared"))
PUBLISHED = SHARED / "published" / "predictions"


def published(name, language):
    path = PUBLISHED / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no published predictions at {PUBLISHED}")
    rows = json.loads(path.read_text(encoding="utf-8"))["predictions"]
    return run([(row["ref"], row["hyp"]) for row in rows], language, name)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("base", "system", "base_rates", "system_rates", "gain"),
    [
        ("baseline_tiny_zh", "lora_tiny_zh", (59.4, 47.2), (41.7, 41.5), -0.12),
        ("baseline_small", "lora_small", (33.5, 21.4), (23.2, 23.2), 0.08),
        ("baseline_medium", "lora_medium", (28.7, 17.9), (13.2, 13.2), -0.26),
    ],
)
def test_trap_1_script_carries_the_chinese_gains(base, system, base_rates, system_rates, gain):
    split = split_difference(published(f"whisper_zh/{base}", "zh"), published(f"whisper_zh/{system}", "zh"))
    assert split.ranked[0].cause.id == "script"
    for side, (plain, one_script) in ((split.base, base_rates), (split.system, system_rates)):
        assert 100 * side.rate == pytest.approx(plain, abs=0.05)
        assert 100 * side.share("script").rate_without == pytest.approx(one_script, abs=0.05)
    before, after = (side.share("script").rate_without for side in (split.base, split.system))
    assert after / before - 1 == pytest.approx(gain, abs=0.005)


@pytest.mark.shared
def test_trap_1_qwen_turns_from_gain_to_loss():
    names = ("qwen3_asr/qwen3_0p6b_base_zh_dev100", "qwen3_asr/qwen3_0p6b_full_zh_dev100")
    split = split_difference(*(published(name, "zh") for name in names))
    rates = [
        100 * rate for side in (split.base, split.system) for rate in (side.rate, side.share("script").rate_without)
    ]
    assert rates == pytest.approx([10.4, 7.7, 9.3, 9.3], abs=0.06)
    assert split.difference < 0 < split.system.group_rate("hearing") - split.base.group_rate("hearing")


@pytest.mark.shared
def test_trap_2_two_loops_hold_a_quarter_of_all_errors():
    split = split_errors(published("whisper_zh/lora_small", "zh"))
    per_utterance = np.sort(split.by_utterance.sum(axis=1))
    assert split.errors == 1763
    assert per_utterance[-2:].sum() == pytest.approx(411)
    assert split.share("loops").errors == pytest.approx(371, abs=15)


@pytest.mark.shared
@pytest.mark.parametrize(("size", "rates"), [("tiny", (39.5, 35.9)), ("small", (21.2, 18.2)), ("medium", (16.3, 13.0))])
def test_trap_2_capped_rates_show_the_real_gain(size, rates):
    suffix = "_zh" if size == "tiny" else ""
    split = split_difference(
        published(f"whisper_zh/baseline_{size}{suffix}", "zh"), published(f"whisper_zh/lora_{size}{suffix}", "zh")
    )
    script = [cause.id for cause in CAUSES].index("script")
    capped = [np.minimum(side.without[:, script], side.lengths) for side in (split.base, split.system)]
    clusters = choose_clusters([None] * 500, [str(i) for i in range(500)], "utterance")
    comparison = compare_rates(*capped, split.base.lengths, clusters, resamples=4000)
    assert (100 * comparison.base, 100 * comparison.system) == pytest.approx(rates, abs=0.06)
    assert comparison.p_value < 0.001
    # With numbers and spacing equal as well, both are a little lower, and tell the same.
    for side, plain in ((split.base, comparison.base), (split.system, comparison.system)):
        assert plain - 0.006 < side.rate_capped <= plain


@pytest.mark.shared
def test_trap_10_runs_of_quotation_marks_are_empty_outputs():
    results = published("whisper_fr/lora_small", "fr")
    quotes = [i for i, p in enumerate(results.predictions) if set(p.hypothesis) <= set("«» ")]
    split = split_errors(results)
    assert quotes
    empty = [cause.id for cause in CAUSES].index("empty")
    for index in quotes:
        assert split.by_utterance[index, empty] == split.lengths[index]
    assert math.isclose(split.share("empty").errors, split.lengths[quotes].sum())
