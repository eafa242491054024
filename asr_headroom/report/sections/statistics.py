"""Section: what the tests of significance say, each in a plain sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from asr_headroom.analysis.scoring import clusters_of
from asr_headroom.metrics.clustering import ClusterBy
from asr_headroom.metrics.margins import judge_margin
from asr_headroom.metrics.paired_tests import mcnemar_test, sign_flip_test
from asr_headroom.metrics.significance import difference_of_rates, paired_events
from asr_headroom.report.changed import Listing
from asr_headroom.report.sections.blocks import Notes, Section
from asr_headroom.report.statistics_text import (
    explain_comparison,
    explain_dominance,
    explain_margin,
    explain_mcnemar,
    explain_method,
    explain_multiplicity,
    explain_sign_flips,
)
from asr_headroom.report.verdict import format_p

__all__ = ["statistics_section"]

_SHOWN = 20


def statistics_section(listings: Sequence[Listing], margin: float | None = None) -> Section | None:
    """Interval, sign flips and sentence errors of every comparison; None where nothing is compared.

    Args:
        listings: of all comparisons.
        margin: loss that users would not mind, as a fraction of the error rate; None asks for no such judgement.
    """
    if not listings:
        return None
    items = [
        (f"{one.pair.system.run.name} against {one.pair.base.run.name} on {one.table.data}", _sentences(one, margin))
        for one in listings[:_SHOWN]
    ]
    blocks = [Notes([*items, ("Many comparisons", _closed(explain_multiplicity(len(listings))))])]
    takeaway = explain_comparison(listings[0].pair.comparison) if len(listings) == 1 else ""
    return Section(id="statistics", title="Statistics", takeaway=takeaway, blocks=blocks)


def _sentences(listing: Listing, margin: float | None) -> str:
    return " ".join(_closed(sentence) for sentence in _notes(listing, margin))


def _notes(listing: Listing, margin: float | None) -> Iterator[str]:
    pair, comparison = listing.pair, listing.pair.comparison
    yield explain_comparison(comparison)
    yield explain_method(comparison)
    if dominance := explain_dominance(comparison):
        yield dominance
    base, system, lengths = paired_events(*(one.counts_in(pair.normalizer) for one in (pair.base, pair.system)))
    clustering = clusters_of((pair.base, pair.system), pair.normalizer, cast(ClusterBy, comparison.cluster_by))
    if clustering.crossed is None:
        yield explain_sign_flips(sign_flip_test(system - base, clustering))
    yield explain_mcnemar(mcnemar_test(base, system))
    if listing.row.holm_p is not None:
        yield f"after Holm's correction over all comparisons {format_p(listing.row.holm_p)}"
    if margin is not None:
        yield explain_margin(judge_margin(difference_of_rates(base, system, lengths, clustering), margin))


def _closed(sentence: str) -> str:
    return f"{sentence[0].upper()}{sentence[1:]}."
