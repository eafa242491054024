"""The wording of keyword recall and weighted error rates, for the command line and for machines."""

from __future__ import annotations

from asr_headroom.analysis.keywords import KeywordComparison
from asr_headroom.metrics.keywords import KeywordCounts
from asr_headroom.metrics.significance import Comparison
from asr_headroom.report.verdict import format_interval, format_p, format_percent, format_points, has_interval

__all__ = ["keyword_comparison_json", "keyword_comparison_text", "keyword_json", "keyword_text"]


def keyword_text(counts: KeywordCounts, weight: float) -> str:
    """One system's keywords in a sentence."""
    precision = "none heard" if counts.precision is None else format_percent(counts.precision)
    return (
        f"{counts.recalled:,} of {counts.said:,} said were heard: recall {format_percent(counts.recall or 0.0)}, "
        f"precision {precision}; {format_percent(counts.weighted_error_rate)} error rate when an error on them "
        f"counts {weight:g}"
    )


def keyword_json(counts: KeywordCounts) -> dict[str, object]:
    """One system's keywords for machines; fractions, null is "none heard"."""
    return {
        "said": counts.said,
        "recalled": counts.recalled,
        "heard": counts.heard,
        "right": counts.right,
        "recall": counts.recall,
        "precision": counts.precision,
        "weighted_error_rate": counts.weighted_error_rate,
    }


def keyword_comparison_text(compared: KeywordComparison, weight: float) -> str:
    """What changed for keywords between two systems, in a sentence."""
    recall = [format_percent(counts.recall or 0.0) for counts in (compared.base, compared.system)]
    rates = [format_percent(counts.weighted_error_rate) for counts in (compared.base, compared.system)]
    return (
        f"recall {recall[0]} → {recall[1]} of {compared.base.said:,}, missed {_difference(compared.missed)}; "
        f"error rate with weight {weight:g}: {rates[0]} → {rates[1]}, {_difference(compared.weighted)}"
    )


def keyword_comparison_json(compared: KeywordComparison) -> dict[str, object]:
    """The same for machines; differences are system minus base."""
    return {
        "base": keyword_json(compared.base),
        "system": keyword_json(compared.system),
        "missed": _comparison_json(compared.missed),
        "weighted_error_rate": _comparison_json(compared.weighted),
    }


def _difference(comparison: Comparison) -> str:
    points = f"{format_points(comparison.difference)} points"
    if not has_interval(comparison):
        return f"{points} (no interval)"
    return f"{points} ({format_interval(comparison.interval, signed=True)}, {format_p(comparison.p_value)})"


def _comparison_json(comparison: Comparison) -> dict[str, object]:
    believable = has_interval(comparison)
    return {
        "base": comparison.base,
        "system": comparison.system,
        "difference": comparison.difference,
        "ci_low": comparison.interval.low if believable else None,
        "ci_high": comparison.interval.high if believable else None,
        "p_value": comparison.p_value if comparison.num_clusters > 1 else None,
    }
