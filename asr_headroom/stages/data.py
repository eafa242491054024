"""Data as every stage reads it: manifest, language, limits; what is left out is counted and said."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_headroom.audio.waveform import describe_source
from asr_headroom.data.manifest import Manifest, Utterance
from asr_headroom.data.readers import read_manifest
from asr_headroom.errors import DataError

__all__ = ["Loaded", "load_data"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """A manifest ready for a stage.

    Attributes:
        manifest: the utterances that are used.
        left_out: how many were not, by reason.
    """

    manifest: Manifest
    left_out: dict[str, int]

    def facts(self) -> dict[str, Any]:
        """For results: name, fingerprint, sizes."""
        return {
            "name": self.manifest.name,
            "fingerprint": self.manifest.fingerprint(),
            "num_utterances": len(self.manifest),
            "left_out": self.left_out,
        }


def load_data(
    source: str,
    *,
    language: str | None = None,
    limit: int | None = None,
    max_duration: float | None = None,
    skip_bad: bool = False,
    streaming: bool = False,
) -> Loaded:
    """Reads a source and leaves out what the caller said may be left out, with a count.

    Args:
        source: whatever :func:`asr_headroom.data.readers.read_manifest` understands.
        language: for rows that name none.
        limit: only the first rows.
        max_duration: seconds; longer utterances are left out and counted.
        skip_bad: leave out rows that cannot be used, and count them, instead of refusing the manifest.
        streaming: read a hub data set row by row without downloading the rest; needs ``limit``.

    Raises:
        DataError: the source cannot be read, recordings are not there and ``skip_bad`` is off, or nothing is left.
    """
    manifest = read_manifest(source, language=language, limit=limit, skip_bad=skip_bad, streaming=streaming)
    left_out: Counter[str] = Counter()
    left_out["unusable rows"] = sum(problem.fatal for problem in manifest.problems)
    name = _short_name(source)
    utterances = _with_recordings(source, manifest.utterances, skip_bad=skip_bad)
    left_out["recording not there"] = len(manifest) - len(utterances)
    if max_duration is not None:
        kept = [u for u in utterances if u.measured_duration() <= max_duration]
        left_out[f"longer than {max_duration:g} s"] = len(utterances) - len(kept)
        utterances = kept
    if not utterances:
        raise DataError(f"{source}: no usable utterance is left; look at it with `asr-headroom data validate {source}`")
    counts = {reason: count for reason, count in left_out.items() if count}
    for reason, count in counts.items():
        logger.warning("%s: %d left out (%s)", name, count, reason)
    nameless = sum(utterance.language is None for utterance in utterances)
    if nameless:
        logger.warning(
            "%s: %d of %d utterances name no language; give --language, or a multilingual model refuses them and "
            "the basic normaliser scores them",
            name,
            nameless,
            len(utterances),
        )
    return Loaded(Manifest(name, utterances, manifest.problems), counts)


def _with_recordings(source: str, utterances: Sequence[Utterance], *, skip_bad: bool) -> Sequence[Utterance]:
    """The utterances whose recording is there: found out now, not hours into a run."""
    paths = {utterance.audio for utterance in utterances if isinstance(utterance.audio, Path)}
    gone = {path for path in paths if not path.is_file()}
    missing = [utterance for utterance in utterances if isinstance(utterance.audio, Path) and utterance.audio in gone]
    if not missing:
        return utterances
    if not skip_bad:
        first = missing[0]
        raise DataError(
            f"{source}: the recordings of {len(missing)} of {len(utterances)} rows are not there, the first is\n"
            f"  {first.origin}: {describe_source(first.audio)}: no such file\n"
            f"see all with `asr-headroom data validate {source}`, or leave them out with --skip-bad"
        )
    return [u for u in utterances if not (isinstance(u.audio, Path) and u.audio in gone)]


def _short_name(source: str) -> str:
    """How a source is called in tables: folder and file stem of a path, anything else as it is."""
    path = Path(source)
    if not path.exists():
        return source
    if path.is_dir():
        return path.resolve().name
    folder = path.resolve().parent.name
    return folder if path.stem in ("manifest", "metadata") else f"{folder}/{path.stem}"
