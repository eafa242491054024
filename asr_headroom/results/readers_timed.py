"""Words with times against segments with times: a CTM scored by the segments of an STM, by sclite's rules.

A word belongs to the segment that its midpoint lies in. Words in segments that are not to be scored are left out with
them; words between segments are insertions of ``inter_segment_gap``, an utterance of its own without reference.

Reference: NIST SCTK, sclite's formats STM and CTM.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from asr_headroom.errors import ResultsError
from asr_headroom.results.pairing import GAP
from asr_headroom.results.readers_rows import Entry, Side, TimedWord

__all__ = ["attach_words", "words_by_recording"]


def words_by_recording(path: Path, words: Sequence[TimedWord]) -> Side:
    """A CTM as one hypothesis per recording, its words in order of time."""
    grouped: dict[tuple[str, str], list[TimedWord]] = defaultdict(list)
    for word in words:
        grouped[word.recording, word.channel].append(word)
    recordings = [recording for recording, _ in grouped]
    entries = []
    for (recording, channel), spoken in grouped.items():
        spoken.sort(key=lambda word: word.begin)
        entries.append(
            Entry(
                f"{path}: recording '{recording}'",
                id=recording if recordings.count(recording) == 1 else f"{recording}-{channel}",
                hypothesis=" ".join(word.text for word in spoken),
                extras={"recording": recording, "channel": channel},
                words=tuple(spoken),
            )
        )
    return Side(path, "CTM", entries)


def attach_words(hypotheses: Side, references: Side) -> Side:
    """Each segment of an STM with the words of a CTM that fall into it.

    Raises:
        ResultsError: words of a recording or channel that the STM does not have.
    """
    segments: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in references.entries:
        segments[entry.extras["recording"], entry.extras["channel"]].append(entry)
    heard: dict[str, list[str]] = defaultdict(list)
    gaps: dict[tuple[str, str], list[str]] = defaultdict(list)
    num_ignored = 0
    for recording in hypotheses.entries:
        key = recording.extras["recording"], recording.extras["channel"]
        if key not in segments:
            known = ", ".join(f"{name} {channel}" for name, channel in list(segments)[:3])
            raise ResultsError(
                f"{hypotheses.path}: recording '{key[0]}' channel '{key[1]}' is not in {references.path} "
                f"(which has {known}{' …' if len(segments) > 3 else ''}); name recordings and channels alike in both"
            )
        inside = sorted(segments[key], key=lambda entry: entry.start or 0.0)
        starts = [entry.start or 0.0 for entry in inside]
        for word in recording.words:
            found = inside[max(0, bisect.bisect_right(starts, word.midpoint) - 1)]
            if not (found.start or 0.0) <= word.midpoint <= (found.end or 0.0):
                gaps[key].append(word.text)
            elif found.extras.get("ignored"):
                num_ignored += 1
            else:
                heard[found.id or ""].append(word.text)
    entries = []
    for entry in references.entries:
        if not entry.extras.pop("ignored", False):
            entry.hypothesis = " ".join(heard[entry.id or ""])
            entries.append(entry)
    for (name, channel), texts in gaps.items():
        where = f"{hypotheses.path}: recording '{name}', between segments"
        gap = Entry(where, id=f"{name}-{channel}-{GAP}", reference="", hypothesis=" ".join(texts), speaker=GAP)
        gap.extras = {"recording": name, "channel": channel}
        entries.append(gap)
    notes = [*references.notes, *hypotheses.notes]
    if gaps:
        number = sum(map(len, gaps.values()))
        notes.append(f"{hypotheses.path}: {number} words lie between segments; they count as insertions")
    if num_ignored:
        notes.append(f"{hypotheses.path}: {num_ignored} words in segments that are not to be scored are left out")
    silent = len(segments.keys() - {(e.extras["recording"], e.extras["channel"]) for e in hypotheses.entries})
    if silent:
        notes.append(
            f"{hypotheses.path}: has no word of {silent} of {len(segments)} recordings; all theirs are deletions"
        )
    return Side(hypotheses.path, "CTM against STM", entries, notes=notes)
