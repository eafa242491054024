"""One self-contained HTML page: the verdict and its reasons first, then folded sections.

The first screen is :mod:`asr_headroom.report.headline`; each section is one file of
:mod:`asr_headroom.report.sections`, and appears only when there is something to show. This module says which sections
there are; ``page.html`` lays them out and escapes every text. Start with :func:`build_page`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_headroom.metrics.significance import ClusterBy
from asr_headroom.report.changed import Listing, list_changes, show_clips
from asr_headroom.report.drawing import Figure
from asr_headroom.report.figures import all_figures
from asr_headroom.report.findings import MAX_AUDITED, MAX_EXPLAINED, MAX_SPLIT, find_reasons
from asr_headroom.report.headline import build_headline
from asr_headroom.report.published import Beside
from asr_headroom.report.sections.ablation import ablation_section
from asr_headroom.report.sections.audit import audit_section
from asr_headroom.report.sections.blocks import Section
from asr_headroom.report.sections.causes import causes_section
from asr_headroom.report.sections.changed import changed_section
from asr_headroom.report.sections.damage import damage_section
from asr_headroom.report.sections.ending import minutes_section, provenance_section, reading_section
from asr_headroom.report.sections.kinds import confusions_section, kinds_section, regressions_section
from asr_headroom.report.sections.matrix import matrix_section
from asr_headroom.report.sections.plots import plots_section
from asr_headroom.report.sections.published import published_section
from asr_headroom.report.sections.spread import distribution_section, slices_section
from asr_headroom.report.sections.statistics import statistics_section
from asr_headroom.report.sections.suspects import suspects_section
from asr_headroom.report.sections.systems import systems_section
from asr_headroom.report.tables import TestTable, build_tables
from asr_headroom.results.store import Results
from asr_headroom.text.normalize import Normalizer

__all__ = ["Page", "build_page", "render_page"]


@dataclass(frozen=True)
class Page:
    """A finished page.

    Attributes:
        html: the whole file.
        num_clips: recordings embedded.
        num_clips_left_out: playable recordings beyond the limit.
        num_clips_missing: recordings that could not be read.
    """

    html: str
    num_clips: int
    num_clips_left_out: int
    num_clips_missing: int


def build_page(
    results: Sequence[Results],
    *,
    title: str,
    normalizer: Normalizer | None = None,
    cluster: ClusterBy = "auto",
    base: str | None = None,
    max_clips: int = 50,
) -> str:
    """The page as one HTML text that needs nothing else.

    Args:
        results: of all runs; see :func:`asr_headroom.report.tables.build_tables` for who is compared with
            whom.
        title: of the page.
        normalizer: None takes the runs' own.
        cluster: what intervals resample as a whole.
        base: name of the system to compare all others with.
        max_clips: recordings embedded, at most.

    Raises:
        UsageError: no results, or no system is called ``base``.
        ResultsError: a run holds no predictions.
    """
    tables = build_tables(results, normalizer=normalizer, cluster=cluster, base=base)
    return render_page(tables, title=title, max_clips=max_clips, cluster=cluster).html


def render_page(
    tables: Sequence[TestTable],
    *,
    title: str,
    max_clips: int = 50,
    cluster: ClusterBy = "auto",
    published: Sequence[Beside] = (),
    price_per_hour: float | None = None,
    margin: float | None = None,
) -> Page:
    """The page of some tables, with the number of recordings in it.

    Args:
        tables: of all tests.
        title: of the page.
        max_clips: recordings embedded, at most.
        cluster: what intervals resample as a whole.
        published: values that somebody printed, beside ours.
        price_per_hour: of the machine, for the plot of cost against error rate.
        margin: loss that users would not mind, as a fraction of the error rate; judged where given.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    listings = list_changes(tables)
    shelf = show_clips(listings, max_clips)
    findings = find_reasons(tables, listings, cluster=cluster)
    explained = findings.explained
    sections: list[Section | None] = [
        systems_section(tables),
        causes_section(findings.named_splits),
        kinds_section(explained),
        regressions_section(explained),
        damage_section(tables),
        ablation_section(tables),
        statistics_section(listings, margin),
        audit_section(findings.audit),
        changed_section(listings, shelf),
        matrix_section(findings.matrices),
        published_section(published),
        distribution_section(tables),
        slices_section(explained),
        confusions_section(explained),
        suspects_section(findings.suspects),
        plots_section(_figures(tables, price_per_hour)),
        minutes_section(tables),
        provenance_section(tables),
        reading_section(tables, listings, _left_out(tables, listings)),
    ]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    html = environment.get_template("page.html").render(
        title=title,
        headline=build_headline(tables, listings, findings),
        sections=[section for section in sections if section is not None],
    )
    return Page(html, len(shelf.uris), shelf.num_left_out, len(shelf.problems))


def _left_out(tables: Sequence[TestTable], listings: Sequence[Listing]) -> list[tuple[str, str]]:
    """What the page would say of fewer systems."""
    notes = []
    if len(listings) > MAX_EXPLAINED:
        notes.append(
            f"Kinds of errors, confusions, slices and what got worse by cause are shown for up to {MAX_EXPLAINED} "
            f"comparisons, causes for up to {MAX_SPLIT}; `asr-headroom analyze BASE SYSTEM` shows them for any two."
        )
    if sum(len(table.rows) for table in tables) > MAX_AUDITED:
        notes.append(f"More than {MAX_AUDITED} runs are not audited here; `asr-headroom audit FILE…` does.")
    return [("Not shown", " ".join(notes))] if notes else []


def _figures(tables: Sequence[TestTable], price_per_hour: float | None) -> list[Figure]:
    """Those that say more than the tables do; the guard's stands in its own section."""
    figures = []
    for stem, figure in all_figures(tables, price_per_hour=price_per_hour):
        paid = {row[1] for row in figure.rows} if stem.startswith("frontier") else {0, 1}
        # Systems of one size make no frontier.
        if stem != "guard" and len(paid) > 1:
            figures.append(figure)
    return figures
