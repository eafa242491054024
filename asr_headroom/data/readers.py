"""One door for all data: :func:`read_manifest` tells the dialect of a source and gives a :class:`Manifest`.

A source is a manifest file (JSON lines of ours, Qwen3-ASR, NeMo or Whisper-Finetune; a JSON array; CSV or
TSV, Common Voice's too), a folder (audio with metadata or transcripts, Kaldi, a saved data set, parquet), a
hub id (``org/name[:config][@split]``) or a profile (``fleurs-fr@test``). Checks here are syntactic, so that
100,000 rows are read in seconds; :mod:`asr_headroom.data.validate` opens the audio.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from asr_headroom.data.hub import (
    DatasetSource,
    dataset_rows,
    is_dataset_path,
    open_dataset,
    open_stream,
    parse_hub_source,
    stream_rows,
)
from asr_headroom.data.manifest import Manifest, Problem
from asr_headroom.data.readers_files import TABLE_SUFFIXES, read_file_rows, rows_folder
from asr_headroom.data.readers_folders import (
    find_metadata,
    has_transcripts,
    is_kaldi_folder,
    kaldi_rows,
    transcript_rows,
)
from asr_headroom.data.readers_rows import RowCollector
from asr_headroom.errors import DataError

__all__ = ["read_manifest", "refuse_bad_rows", "scan_manifest"]

_PROFILE_SOURCE = re.compile(r"[a-z0-9-]+@[a-z0-9]+")
_FILE_SUFFIXES = (*TABLE_SUFFIXES, ".json", ".jsonl", ".ndjson", ".parquet", ".txt")
_SHOWN_PROBLEMS = 10


def read_manifest(
    source: str | Path,
    *,
    language: str | None = None,
    skip_bad: bool = False,
    limit: int | None = None,
    streaming: bool = False,
) -> Manifest:
    """The utterances of a source, whatever its dialect; no audio is opened.

    Args:
        source: an existing path, or a hub id, or a profile; an existing path wins.
        language: BCP-47 tag of rows that state none.
        skip_bad: leave out rows that cannot be used instead of refusing the source; they stay in
            ``problems``.
        limit: rows to read at most, bad ones counted; for a profile, of the split that it defines.
        streaming: read a hub data set row by row without downloading the rest; needs ``limit``.

    Raises:
        DataError: the source cannot be read, holds no row, or some rows are bad and ``skip_bad`` is off; the
            first ten problems are listed with file and line.
    """
    manifest = scan_manifest(source, language=language, limit=limit, streaming=streaming)
    return refuse_bad_rows(manifest, skip_bad=skip_bad)


def scan_manifest(
    source: str | Path, *, language: str | None = None, limit: int | None = None, streaming: bool = False
) -> Manifest:
    """The same without refusing bad rows: they are the fatal ``problems`` of the manifest.

    Raises:
        DataError: the source as a whole cannot be read.
    """
    if limit is not None and limit < 1:
        raise DataError(f"{source}: limit is {limit}; read at least 1 row")
    text = str(source)
    path = _existing(text)
    if path is not None:
        return _scan_path(path, text, language, limit)
    local = _local_split(text)
    if local is not None:
        return _scan_dataset(local, language, limit, streaming=False)
    if _PROFILE_SOURCE.fullmatch(text):
        return _scan_profile(text, language, limit)
    hub = parse_hub_source(text)
    if hub is not None and not text.startswith(".") and Path(hub.location).suffix.lower() not in _FILE_SUFFIXES:
        return _scan_dataset(hub, language, limit, streaming)
    raise DataError(
        f"{text}: no such file or folder; give a manifest, a folder, a hub id (org/name:config@split) "
        "or a profile (fleurs-fr@test)"
    )


def refuse_bad_rows(manifest: Manifest, *, skip_bad: bool = False) -> Manifest:
    """The manifest as it is, unless rows of it are bad.

    Raises:
        DataError: there are fatal problems that no profile's filter made and ``skip_bad`` is off, or no row
            is left.
    """
    fatal = [problem for problem in manifest.problems if problem.fatal and not problem.is_filtered]
    if fatal and (not skip_bad or not len(manifest)):
        num_rows = len(manifest) + len(fatal)
        raise DataError(
            f"{manifest.name}: {len(fatal)} of {num_rows} rows cannot be used:\n{_listed(fatal)}\n"
            f"see all with `asr-headroom data validate {manifest.name}`, or leave them out with --skip-bad"
        )
    if not len(manifest):
        raise DataError(f"{manifest.name}: holds no rows; write one utterance per line")
    return manifest


def _listed(problems: Sequence[Problem]) -> str:
    lines = [f"  {problem}" for problem in problems[:_SHOWN_PROBLEMS]]
    if len(problems) > _SHOWN_PROBLEMS:
        lines.append(f"  and {len(problems) - _SHOWN_PROBLEMS} more")
    return "\n".join(lines)


def _existing(text: str) -> Path | None:
    try:
        path = Path(text).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError):  # a name too long for a file, or the home of an unknown user
        return None


def _scan_path(path: Path, name: str, language: str | None, limit: int | None) -> Manifest:
    collector = RowCollector(path, language)
    metadata = find_metadata(path)
    if is_kaldi_folder(path):
        collector.add_all(kaldi_rows(path), limit)
    elif metadata is not None:
        return _scan_file(metadata, name, language, limit)
    elif is_dataset_path(path):
        return _scan_dataset(DatasetSource(str(path), is_local=True), language, limit, streaming=False)
    elif path.is_file():
        return _scan_file(path, name, language, limit)
    elif has_transcripts(path):
        collector.add_all(transcript_rows(path), limit)
    else:
        raise DataError(f"{path}: {_nothing_in(path)}")
    return Manifest(name, collector.utterances, collector.problems)


def _nothing_in(folder: Path) -> str:
    manifests = sorted(str(p) for p in folder.iterdir() if p.suffix in (".jsonl", *TABLE_SUFFIXES))
    if manifests:
        return f"a folder is read by its metadata, not by its tables; give one of: {', '.join(manifests[:10])}"
    if (folder / "text").is_file():
        return "has a file named text but no wav.scp with the recordings"
    return "no metadata.csv, metadata.jsonl, wav.scp, parquet or transcripts (.txt) in this folder"


def _scan_file(path: Path, name: str, language: str | None, limit: int | None) -> Manifest:
    rows = read_file_rows(path)
    collector = RowCollector(rows_folder(path), language)
    collector.add_all(rows, limit)
    return Manifest(name, collector.utterances, collector.problems)


def _local_split(text: str) -> DatasetSource | None:
    location, separator, split = text.rpartition("@")
    path = _existing(location) if separator else None
    if path is None or not is_dataset_path(path):
        return None
    return DatasetSource(str(path), split=split, is_local=True)


def _scan_dataset(source: DatasetSource, language: str | None, limit: int | None, streaming: bool) -> Manifest:
    folder = Path(source.location) if source.is_local else Path()
    collector = RowCollector(folder if folder.is_dir() else folder.parent, language)
    if streaming and limit is None:
        raise DataError(f"{source}: streaming keeps what it reads in memory; say how many rows with limit")
    if streaming:
        collector.add_all(stream_rows(open_stream(source), str(source)), limit)
    else:
        collector.add_all(dataset_rows(open_dataset(source), str(source), limit=limit))
    return Manifest(str(source), collector.utterances, collector.problems)


def _scan_profile(source: str, language: str | None, limit: int | None) -> Manifest:
    # Profiles are read with this module's parts, so they are imported when one is asked for.
    from asr_headroom.data.corpora.registry import load_profile

    name, _, split = source.partition("@")
    manifest = load_profile(name, split, language=language)
    return manifest if limit is None else Manifest(manifest.name, manifest.utterances[:limit], manifest.problems)
