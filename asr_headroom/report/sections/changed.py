"""Section: which utterances got worse and which better, with their recordings."""

from __future__ import annotations

from collections.abc import Sequence

from asr_headroom.report.changed import Listing, show_listings
from asr_headroom.report.clips import ClipShelf
from asr_headroom.report.notes import clip_note
from asr_headroom.report.sections.blocks import Listings, Section

__all__ = ["changed_section"]


def changed_section(listings: Sequence[Listing], shelf: ClipShelf) -> Section | None:
    """The changed utterances of every comparison; None where nothing is compared."""
    if not listings:
        return None
    worse = sum(len(listing.changes.worse) for listing in listings)
    better = sum(len(listing.changes.better) for listing in listings)
    return Section(
        id="changed",
        title="What changed",
        takeaway=f"{worse} utterances worse, {better} better" if len(listings) == 1 else "",
        blocks=[Listings(list(show_listings(listings, shelf)), clip_note(shelf))],
    )
