"""What each statistic says, as one plain sentence for the page and the terminal.

Numbers come from :mod:`asr_headroom.metrics`; nothing is computed here. Start with :func:`explain_comparison`.
"""

from __future__ import annotations

from asr_headroom.metrics.margins import MarginJudgement
from asr_headroom.metrics.paired_tests import Mapsswe, McNemar, SignFlip
from asr_headroom.metrics.seeds import SeedComparison
from asr_headroom.metrics.sequential import Standing
from asr_headroom.metrics.significance import MIN_CLUSTERS, MIN_CLUSTERS_TO_JUDGE, Comparison
from asr_headroom.report.verdict import describe_number, format_interval, format_p, format_points, has_interval

__all__ = [
    "DOMINANT_SHARE",
    "explain_comparison",
    "explain_dominance",
    "explain_mapsswe",
    "explain_margin",
    "explain_mcnemar",
    "explain_method",
    "explain_multiplicity",
    "explain_seeds",
    "explain_sign_flips",
    "explain_standing",
]

DOMINANT_SHARE = 0.25
"""Share of the variance in one cluster from which an interval is not to be taken at its word (measured:
docs/statistics.md)."""


def explain_comparison(comparison: Comparison) -> str:
    """What the interval allows to say, and what the test could have seen."""
    who = _clusters(comparison.num_clusters, comparison.cluster_by)
    if comparison.num_clusters < MIN_CLUSTERS_TO_JUDGE:
        return f"{who} {_are(comparison.num_clusters)} too few for any verdict"
    if not has_interval(comparison):
        return f"the difference is the same in all {who}, so there is no interval"
    if 0.0 not in comparison.interval:
        return f"the interval excludes zero: a difference, for {comparison.population}"
    seen = 100 * comparison.minimal_detectable_effect
    return f"the interval includes zero; with {who} you could have seen {seen:.1f} points"


def explain_method(comparison: Comparison) -> str:
    """How the interval was made, where that is not the plain percentile bootstrap of many clusters."""
    if comparison.num_clusters < MIN_CLUSTERS:
        who = _clusters(comparison.num_clusters, comparison.cluster_by)
        return f"only {who}: the interval is the {comparison.method}, and covers {comparison.population}"
    method = f"by {comparison.method}".replace("by widest", "the widest")
    return f"95 % interval, {method}, over {_clusters(comparison.num_clusters, comparison.cluster_by)}"


def explain_dominance(comparison: Comparison) -> str | None:
    """A warning where a single cluster decides how wide the interval is; None where none does."""
    if comparison.largest_share < DOMINANT_SHARE:
        return None
    one = comparison.cluster_by.replace("+", " or ")
    return (
        f"one {one} holds {100 * comparison.largest_share:.0f} % of the variance; how often such a {one} comes "
        "cannot be told from one, so the interval is too narrow; look at the capped rate"
    )


def explain_margin(judgement: MarginJudgement) -> str:
    """Whether the system is as good, up to the margin."""
    margin = f"{100 * judgement.margin:g} points"
    inside = "worse by less than" if judgement.claim == "non-inferior" else "within"
    shown = f"the system is {inside} {margin}" if judgement.holds else f"not shown to be {inside} {margin}"
    return f"{shown} (90 % interval {format_interval(judgement.interval, signed=True)}, {format_p(judgement.p_value)})"


def explain_sign_flips(test: SignFlip) -> str:
    """How often chance alone would differ as much."""
    if not test.num_differing:
        return "both make as many errors in every cluster"
    share = "fewer than one in 1,000" if test.p_value < 0.001 else f"{100 * test.p_value:.1f} %"
    return (
        f"were the two systems alike, {share} of swaps would differ as much ({test.method}, {format_p(test.p_value)})"
    )


def explain_mcnemar(test: McNemar) -> str:
    """Which of the two gets more sentences wholly right."""
    return (
        f"{describe_number(test.only_system, 'sentence')} right only in the system, "
        f"{test.only_base:,} only in the base ({format_p(test.p_value)}, McNemar)"
    )


def explain_mapsswe(test: Mapsswe) -> str:
    """The result of sclite's test."""
    segments = describe_number(test.num_segments, "segment")
    return (
        f"{segments} with an error, {test.mean:+.2f} errors each, z = {test.z:.2f} ({format_p(test.p_value)}, MAPSSWE)"
    )


def explain_multiplicity(comparisons: int, *, method: str = "Holm") -> str:
    """Why p-values of a table are larger than those of a single comparison."""
    if comparisons < 2:
        return "a single comparison needs no correction"
    controls = "even one false claim" if method == "Holm" else "the share of false claims"
    return f"p-values are corrected for {comparisons} comparisons ({method}): {controls} stays at the level"


def explain_seeds(comparison: SeedComparison) -> str:
    """What several trainings say about the recipe."""
    runs = describe_number(comparison.num_seeds, "seed")
    says = "excludes" if 0.0 not in comparison.interval else "includes"
    text = (
        f"{format_points(comparison.difference)} points on average over {runs} "
        f"({format_interval(comparison.interval, signed=True)} for {comparison.population}); the interval {says} zero"
    )
    if comparison.num_seeds < 4:
        text += f"; {runs} say little about further ones"
    return f"{text}; trainings differ by {100 * comparison.seed_deviation:.2f} points (standard deviation)"


def explain_standing(standing: Standing) -> str:
    """Where a system stands in a race."""
    seen = f"{standing.errors_per_row:.2f} errors per utterance after {describe_number(standing.rows, 'utterance')}"
    if standing.dropped_by is None:
        return f"{standing.name}: {seen}"
    return f"{standing.name}: dropped, certainly behind {standing.dropped_by} ({seen})"


def _clusters(number: int, by: str) -> str:
    if "+" in by:
        return f"{number:,} clusters by {by.replace('+', ' and ')}"
    return describe_number(number, by)


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
