"""The wording of a comparison, shared by the command line, the tables and the page.

Numbers are printed as percentages and points with two decimals, differences with their sign, and never
without the number of utterances they come from.
"""

from __future__ import annotations

import dataclasses
import math

from asr_headroom.analysis.guard import read_guard
from asr_headroom.analysis.outputs import OutputCounts
from asr_headroom.analysis.scoring import PairedResults, Score, kept_base
from asr_headroom.metrics.significance import MIN_CLUSTERS, MIN_CLUSTERS_TO_JUDGE, Comparison, Interval, RateEstimate
from asr_headroom.report.delivered import delivered_json, describe_delivered, why_base_was_kept
from asr_headroom.results.schema import RunInfo
from asr_headroom.text.units import rate_name, unit_name

__all__ = [
    "comparison_facts",
    "comparison_json",
    "describe_number",
    "format_count",
    "format_interval",
    "format_p",
    "format_percent",
    "format_points",
    "has_interval",
    "score_facts",
    "score_json",
    "utterances_to_ask_for",
    "verdict_headline",
    "verdict_line",
    "verdict_short",
    "verdict_word",
    "what_it_would_take",
]


def format_percent(rate: float) -> str:
    """A fraction as a percentage.

    >>> format_percent(0.13855)
    '13.86 %'
    """
    return f"{100 * rate:.2f} %"


def format_points(difference: float) -> str:
    """A difference of fractions in percentage points, with its sign.

    >>> format_points(-0.0176), format_points(0.0)
    ('−1.76', '0.00')
    """
    text = f"{100 * difference:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def format_interval(interval: Interval, *, signed: bool = False) -> str:
    """An interval of fractions: in points with signs, or in per cent."""
    if signed:
        return f"{format_points(interval.low)} to {format_points(interval.high)}"
    return f"{100 * interval.low:.2f} to {100 * interval.high:.2f} %"


def has_interval(numbers: Comparison | RateEstimate) -> bool:
    """Whether there is an interval to show: a single cluster, or a value equal in all of them, has none."""
    return numbers.num_clusters > 1 and numbers.interval.high - numbers.interval.low > 1e-12


def format_p(p_value: float) -> str:
    """A p-value with as many digits as it can bear.

    >>> format_p(0.0561), format_p(0.0002), format_p(0.43)
    ('p = 0.056', 'p < 0.001', 'p = 0.43')
    """
    if p_value < 0.001:
        return "p < 0.001"
    return f"p = {p_value:.3f}" if p_value < 0.1 else f"p = {p_value:.2f}"


def format_count(number: float) -> str:
    """A large number of things, as people say it.

    >>> format_count(241734912), format_count(1543490560), format_count(512)
    ('242 M', '1.54 B', '512')
    """
    for size, sign in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            scaled = number / size
            return f"{scaled:.{max(0, 2 - int(math.log10(scaled)))}f}{sign}"
    return f"{number:.0f}"


def describe_number(number: int, noun: str) -> str:
    """A count and its noun.

    >>> describe_number(1, "utterance"), describe_number(12000, "utterance")
    ('1 utterance', '12,000 utterances')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def utterances_to_ask_for(comparison: Comparison) -> int | None:
    """How many further utterances would be expected to settle it, two digits exact; None when none would.

    With too few clusters for any verdict it is at least the number that brings :data:`MIN_CLUSTERS` of them.
    """
    needed = comparison.utterances_needed
    if comparison.num_clusters < MIN_CLUSTERS_TO_JUDGE:
        per_cluster = comparison.num_utterances / comparison.num_clusters
        needed = max(needed or 0, math.ceil((MIN_CLUSTERS - comparison.num_clusters) * per_cluster))
    if needed is None:
        return None
    digits = max(0, len(str(needed)) - 2)
    return max(1, math.ceil(needed / 10**digits) * 10**digits)


def verdict_line(pair: PairedResults) -> str:
    """The verdict in one line: ``better: …``, ``worse: …`` or ``cannot tell; …``."""
    comparison = pair.comparison
    numbers = (
        f"{rate_name(pair.normalizer.unit)} {format_percent(comparison.base)} → "
        f"{format_percent(comparison.system)}, {_difference(comparison)}; "
        f"'{pair.system.run.name}' against '{pair.base.run.name}'"
    )
    if comparison.verdict != "cannot tell":
        return f"{comparison.verdict}: {numbers}"
    return f"cannot tell; {what_it_would_take(pair)}: {numbers}"


def verdict_headline(pair: PairedResults) -> str:
    """The verdict as a sentence for the top of a page."""
    comparison, system, base = pair.comparison, pair.system.run.name, pair.base.run.name
    points = f"{100 * abs(comparison.difference):.2f} points"
    if comparison.verdict == "better":
        return f"{system} is better than {base}, by {points}"
    if comparison.verdict == "worse":
        return f"{system} is worse than {base}, by {points}"
    if verdict_word(pair) == "base kept":
        # The guard's reason is long; it stands among the facts.
        return f"{system} is {base} itself; {why_base_was_kept(pair.system.run, with_reason=False)}"
    return f"Cannot tell {system} from {base}; {what_it_would_take(pair)}"


def verdict_short(pair: PairedResults) -> str:
    """The verdict as a phrase for a list of many."""
    system, base = pair.system.run.name, pair.base.run.name
    if verdict_word(pair) == "base kept":
        return f"{system} kept {base}"
    if pair.comparison.verdict == "cannot tell":
        return f"Cannot tell {system} from {base}"
    return f"{system} is {pair.comparison.verdict} than {base}"


def verdict_word(pair: PairedResults) -> str:
    """The verdict in a table's cell; ``base kept`` where training ended with the base itself."""
    if kept_base(pair.system.run) and pair.comparison.difference == 0:
        return "base kept"
    return pair.comparison.verdict


def what_it_would_take(pair: PairedResults) -> str:
    """How many more utterances would settle an open comparison, in words, or why none would."""
    comparison = pair.comparison
    if verdict_word(pair) == "base kept" and (reason := why_base_was_kept(pair.system.run)):
        return reason
    needed = utterances_to_ask_for(comparison)
    if needed is None:
        return "both make exactly as many errors"
    more = f"you would need about {needed:,} more utterance{'' if needed == 1 else 's'}"
    if comparison.num_clusters < MIN_CLUSTERS_TO_JUDGE:
        clusters = _clusters(comparison.num_clusters, comparison.cluster_by)
        return f"{more}, as {clusters} are too few for any verdict"
    return f"{more} to settle a difference this small"


def comparison_facts(pair: PairedResults) -> list[tuple[str, str]]:
    """What stands below the verdict, as label and text."""
    c, name, guard = pair.comparison, rate_name(pair.normalizer.unit), read_guard(pair.system.run)
    other = []
    if pair.other_normalizer and pair.other_comparison:
        o = pair.other_comparison
        rates = f"{name} {format_percent(o.base)} → {format_percent(o.system)}"
        other.append((f"under {pair.other_normalizer.id}", f"{rates}, {_difference(o)}"))
    return [
        ("base", f"{format_percent(c.base)} {name}  {pair.base.run.name}"),
        ("system", f"{format_percent(c.system)} {name}  {pair.system.run.name}"),
        ("difference", f"{_difference(c)}{_relative(c)}"),
        *([("delivered", describe_delivered(guard).removeprefix("delivered "))] if guard else []),
        (
            "tested on",
            f"{describe_number(c.num_utterances, 'utterance')} in {_clusters(c.num_clusters, c.cluster_by)}"
            + ("" if pair.paired_by == "id" else f", paired by {pair.paired_by}"),
        ),
        ("holds for", c.population),
        ("detectable", _detectable(c)),
        *dict.fromkeys(fact for results in (pair.base, pair.system) for fact in _how_read(results.run)),
        ("normalizer", f"{pair.normalizer.id} ({pair.normalizer.hash})"),
        *other,
    ]


def score_facts(score: Score) -> list[tuple[str, str]]:
    """One score as label and text; the headline rate first."""
    counts, estimate = score.counts, score.estimate
    headline = rate_name(score.unit)
    other = [(f"under {score.other[0]}", f"{format_percent(score.other[1])} {headline}")] if score.other else []
    rates = [("WER", "no words apart in this normalizer" if score.wer is None else format_percent(score.wer))]
    rates.append(("CER", format_percent(score.cer)))
    if score.unit == "character":
        rates.reverse()
    name, value = rates[0]
    rates[0] = (name, f"{value}  (95 % interval {_interval_or_none(score)})")
    return [
        *rates,
        ("MER", format_percent(counts.match_error_rate)),
        (
            "capped",
            f"{format_percent(score.capped_rate)} {headline} with no more errors than {unit_name(score.unit)} in each",
        ),
        (
            unit_name(score.unit),
            f"{counts.hits:,} hits, {counts.substitutions:,} substitutions, {counts.deletions:,} deletions, "
            f"{counts.insertions:,} insertions; {counts.reference_length:,} in the reference",
        ),
        (
            "tested on",
            f"{describe_number(estimate.num_utterances, 'utterance')} in "
            f"{_clusters(estimate.num_clusters, estimate.cluster_by)}",
        ),
        ("holds for", score.population),
        ("outputs", _outputs(score)),
        *_how_read(score.run),
        ("normalizer", f"{score.normalizer.id} ({score.normalizer.hash})"),
        *other,
    ]


def comparison_json(pair: PairedResults) -> dict[str, object]:
    """A comparison for machines; rates and differences are fractions, null is "cannot be said"."""
    c = pair.comparison
    believable = has_interval(c)
    return {
        "verdict": c.verdict,
        "n": c.num_utterances,
        "clusters": c.num_clusters,
        "cluster_by": c.cluster_by,
        "population": c.population,
        "unit": pair.normalizer.unit,
        "base_name": pair.base.run.name,
        "system_name": pair.system.run.name,
        "base": c.base,
        "system": c.system,
        "difference": c.difference,
        "relative_change": c.difference / c.base if c.base else None,
        "ci_low": c.interval.low if believable else None,
        "ci_high": c.interval.high if believable else None,
        "p_value": c.p_value if c.num_clusters > 1 else None,
        "minimal_detectable_effect": c.minimal_detectable_effect if believable else None,
        "utterances_needed": utterances_to_ask_for(c) if c.verdict == "cannot tell" else 0,
        "delivered": delivered_json(pair.system.run),
        "left_out": pair.left_out,
        "paired_by": pair.paired_by,
        "normalizer": {"id": pair.normalizer.id, "hash": pair.normalizer.hash},
        "other_normalizer": _other_json(pair),
        "warnings": list(pair.warnings),
    }


def score_json(score: Score) -> dict[str, object]:
    """A score for machines; rates are fractions, null is "cannot be said"."""
    counts, estimate = score.counts, score.estimate
    believable = has_interval(estimate)
    return {
        "name": score.run.name,
        "n": score.num_utterances,
        "unit": score.unit,
        # Always a number for scripts; where a normaliser leaves no words apart, each text is one word.
        "wer": score.words.error_rate,
        "cer": score.cer,
        "mer": counts.match_error_rate,
        "capped_rate": score.capped_rate,
        "other_normalizer": {"id": score.other[0], "rate": score.other[1]} if score.other else None,
        "ci_low": estimate.interval.low if believable else None,
        "ci_high": estimate.interval.high if believable else None,
        "clusters": estimate.num_clusters,
        "cluster_by": estimate.cluster_by,
        "population": score.population,
        "hits": counts.hits,
        "substitutions": counts.substitutions,
        "deletions": counts.deletions,
        "insertions": counts.insertions,
        **_outputs_json(score.outputs),
        "language": score.run.language,
        "read": {key: score.run.data[key] for key in _HOW_READ if key in score.run.data},
        "normalizer": {"id": score.normalizer.id, "hash": score.normalizer.hash},
        "warnings": list(score.warnings),
    }


def _outputs(score: Score) -> str:
    outputs = score.outputs
    found = [f"{outputs.empty} empty", f"{outputs.looped} looping"]
    if outputs.truncated is not None:
        found.append(f"{outputs.truncated} cut at the limit")
    for number, text in (
        (outputs.wrong_script, "in another script"),
        (outputs.wrong_language, "in another language"),
        (outputs.script_variant, "with traditional characters for simplified ones"),
    ):
        found += [f"{number} {text}"] if number else []
    return ", ".join(found)


def _outputs_json(outputs: OutputCounts) -> dict[str, object]:
    counts = {name: number for name, number in dataclasses.asdict(outputs).items() if name != "total"}
    rates = {"loop" if name == "looped" else name: outputs.rate(number) for name, number in counts.items()}
    return {**counts, **{f"{name}_rate": rate for name, rate in rates.items()}}


_HOW_READ = ("format", "ids", "language_from")


def _how_read(run: RunInfo) -> list[tuple[str, str]]:
    """How a file of another tool was understood; nothing for runs of our own."""
    if run.kind != "import" or "format" not in run.data:
        return []
    ids = {"content": "ids made from the references", "audio": "ids from the recordings' names"}.get(
        run.data["ids"], ""
    )
    language = f"language {run.language} {run.data['language_from']}" if run.language else "language unknown"
    return [("read as", ", ".join(filter(None, (run.data["format"], language, ids))))]


def _other_json(pair: PairedResults) -> dict[str, object] | None:
    o = pair.other_comparison
    if pair.other_normalizer is None or o is None:
        return None
    return {
        "id": pair.other_normalizer.id,
        "base": o.base,
        "system": o.system,
        "difference": o.difference,
        "ci_low": o.interval.low if has_interval(o) else None,
        "ci_high": o.interval.high if has_interval(o) else None,
        "verdict": o.verdict,
    }


def _difference(comparison: Comparison) -> str:
    points = f"{format_points(comparison.difference)} points"
    if comparison.num_clusters < 2:
        return f"{points} (a single cluster has no interval)"
    p_value = format_p(comparison.p_value)
    if not has_interval(comparison):
        return f"{points} (the same in every cluster, so without interval; {p_value})"
    return f"{points} (95 % interval {format_interval(comparison.interval, signed=True)}, {p_value})"


def _relative(comparison: Comparison) -> str:
    if not comparison.base:
        return ""
    return f", {format_points(comparison.difference / comparison.base)} % relative"


def _detectable(comparison: Comparison) -> str:
    if comparison.num_clusters < 2:
        return "nothing: a single cluster has no interval"
    if not has_interval(comparison):
        return "not known: the difference is the same in every cluster"
    return (
        f"{100 * comparison.minimal_detectable_effect:.2f} points is the smallest true difference that this "
        "test would show (80 % power)"
    )


def _interval_or_none(score: Score) -> str:
    if has_interval(score.estimate):
        return format_interval(score.estimate.interval)
    return "none, one cluster only" if score.estimate.num_clusters < 2 else "none, the same rate in every cluster"


def _clusters(number: int, by: str) -> str:
    return f"{describe_number(number, 'cluster')} (by {by})"
