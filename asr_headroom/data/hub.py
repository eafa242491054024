"""Data sets of the ``datasets`` library, by hub id or local path; audio is fetched when it is needed.

A source is written ``org/name[:config][@split]`` or ``path[@split]``, for example
``google/fleurs:fr_fr@test``. Audio is never decoded by ``datasets``: the encoded bytes stay in the
memory-mapped file until an utterance asks for its samples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from asr_headroom.data.manifest import Problem
from asr_headroom.data.readers_rows import AUDIO_COLUMNS, Row, check_columns
from asr_headroom.errors import AudioError, DataError, MissingDependencyError, did_you_mean

if TYPE_CHECKING:
    import datasets

__all__ = [
    "DatasetAudio",
    "DatasetSource",
    "dataset_rows",
    "is_dataset_path",
    "open_dataset",
    "open_stream",
    "parse_hub_source",
    "stream_rows",
]

_HUB_SOURCE = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.+-]+))?(?:@(?P<split>[\w.-]+))?")
_CONVERTED_REVISION = "refs/convert/parquet"
_BATCH_ROWS = 1000


@dataclass(frozen=True)
class DatasetSource:
    """What to open: a hub id, or a local folder or parquet file, with its configuration and split."""

    location: str
    config: str | None = None
    split: str | None = None
    is_local: bool = False

    def __str__(self) -> str:
        config = f":{self.config}" if self.config else ""
        return f"{self.location}{config}" + (f"@{self.split}" if self.split else "")


@dataclass(frozen=True, slots=True, eq=False)
class DatasetAudio:
    """The audio of one row of a data set: encoded bytes, or the path of a file, read only when asked for.

    Attributes:
        dataset: with the audio column alone, not decoding.
        column: name of the audio column.
        index: of the row, from 0.
        name: for messages.
    """

    dataset: datasets.Dataset = field(repr=False)
    column: str
    index: int
    name: str

    def read_bytes(self) -> bytes:
        """The encoded file.

        Raises:
            AudioError: the row holds neither bytes nor the path of a file.
        """
        return _encoded_bytes(self.dataset[self.index][self.column], self.name)


def parse_hub_source(source: str) -> DatasetSource | None:
    """The parts of ``org/name[:config][@split]``; None where it is written otherwise.

    >>> parse_hub_source("google/fleurs:fr_fr@test")
    DatasetSource(location='google/fleurs', config='fr_fr', split='test', is_local=False)
    """
    match = _HUB_SOURCE.fullmatch(source)
    return DatasetSource(match["id"], match["config"], match["split"]) if match else None


def is_dataset_path(path: Path) -> bool:
    """Whether a local path is a parquet file, a folder of them, or what ``save_to_disk`` wrote."""
    if path.is_file():
        return path.suffix.lower() == ".parquet"
    return _is_saved(path) or next(path.rglob("*.parquet"), None) is not None


def open_dataset(source: DatasetSource) -> datasets.Dataset:
    """One split of a data set, memory-mapped, with audio left encoded.

    Raises:
        DataError: it cannot be loaded, or the split is not there or not named where there are several.
        MissingDependencyError: ``datasets`` is not installed.
    """
    return _without_decoding(_choose_split(_load(source, streaming=False), source), source)


def open_stream(source: DatasetSource) -> datasets.IterableDataset:
    """The same, read row by row from the network.

    Raises:
        DataError: see :func:`open_dataset`.
        MissingDependencyError: ``datasets`` is not installed.
    """
    return _without_decoding(_choose_split(_load(source, streaming=True), source), source)


def dataset_rows(
    dataset: datasets.Dataset, name: str, *, text_column: str | None = None, limit: int | None = None
) -> Iterator[Row | Problem]:
    """Rows of a memory-mapped data set; only their other columns are read, audio waits.

    Args:
        dataset: from :func:`open_dataset`.
        name: for ``where``.
        text_column: that holds the transcript; None is the usual order of names.
        limit: rows at most.

    Raises:
        DataError: there is no audio or no text column.
    """
    audio = _audio_column(dataset.features, name)
    drop_text = _check_text(dataset.column_names, text_column, name)
    if limit is not None and limit < len(dataset):
        dataset = dataset.select(range(limit))
    stored = dataset.select_columns([audio])
    has_bytes = not _is_string(dataset.features[audio])
    keep_id = "id" in dataset.column_names and _are_unique(dataset, "id")
    index = 0
    for batch in dataset.with_format("arrow").iter(batch_size=_BATCH_ROWS):
        names = _audio_names(batch.column(audio), has_bytes)
        for values, audio_name in zip(batch.drop_columns([audio]).to_pylist(), names, strict=True):
            cell = DatasetAudio(stored, audio, index, audio_name or f"row-{index}") if has_bytes else audio_name
            yield _row(values, cell, f"{name} row {index}", index, text_column, drop_text, keep_id)
            index += 1


def stream_rows(
    dataset: datasets.IterableDataset, name: str, *, text_column: str | None = None
) -> Iterator[Row | Problem]:
    """Rows of a stream; each holds its encoded audio in memory, so take only as many as are needed.

    Raises:
        DataError: there is no audio or no text column.
    """
    for index, values in enumerate(dataset):
        audio = _audio_column(dataset.features or {column: None for column in values}, name)
        drop_text = _check_text(list(values), text_column, name)
        cell = values.pop(audio)
        where = f"{name} row {index}"
        if isinstance(cell, dict):
            try:
                encoded = _encoded_bytes(cell, where)
            except AudioError as error:
                yield Problem(where, str(error))
                continue
            if "id" in values:
                values["original_id"] = values.pop("id")
            stem = PurePath(cell.get("path") or "").stem or f"row-{index}"
            values["id"] = f"{stem}-{index}"
            cell = encoded
        yield _row(values, cell, where, index, text_column, drop_text, True)


def _row(
    values: dict[str, Any],
    audio: Any,
    where: str,
    index: int,
    text_column: str | None,
    drop_text: Sequence[str],
    keep_id: bool,
) -> Row:
    for column in drop_text:
        values[f"original_{column}"] = values.pop(column)
    if text_column is not None:
        values["text"] = values.pop(text_column)
    if not keep_id and "id" in values:
        # FLEURS numbers sentences, not recordings: ids that repeat are kept as a further column.
        values["original_id"] = values.pop("id")
    for column in AUDIO_COLUMNS:
        values.pop(column, None)
    if not isinstance(audio, str):
        # The row's audio is the segment already; times say where in a longer recording it once was.
        for column in [name for name in ("start", "offset", "end") if name in values]:
            values[f"original_{column}"] = values.pop(column)
    values["audio"] = audio
    return Row(where, index + 1, values)


def _check_text(columns: Sequence[str], text_column: str | None, name: str) -> list[str]:
    """The columns that would be taken for the text although ``text_column`` was asked for."""
    check_columns([*columns, "audio"] if text_column is None else ["audio", "text"], name)
    if text_column is None:
        return []
    if text_column not in columns:
        raise DataError(f"{name}: no column '{text_column}' (there are: {', '.join(columns)})")
    return ["text"] if "text" in columns and text_column != "text" else []


def _audio_column(features: dict[str, Any], name: str) -> str:
    import datasets

    for column, feature in features.items():
        if isinstance(feature, datasets.Audio) or (isinstance(feature, dict) and {"bytes", "path"} <= set(feature)):
            return column
    for column in AUDIO_COLUMNS:
        if column in features and (features[column] is None or _is_string(features[column])):
            return column
    raise DataError(f"{name}: no audio column (there are: {', '.join(features)})")


def _is_string(feature: Any) -> bool:
    return getattr(feature, "dtype", None) in ("string", "large_string") and not hasattr(feature, "decode")


def _are_unique(dataset: datasets.Dataset, column: str) -> bool:
    values = dataset.with_format(None).select_columns([column])[:][column]
    return None not in values and len(set(values)) == len(values)


def _audio_names(column: Any, has_bytes: bool) -> list[str | None]:
    import pyarrow.compute

    return (pyarrow.compute.struct_field(column, "path") if has_bytes else column).to_pylist()


def _encoded_bytes(cell: Any, name: str) -> bytes:
    if isinstance(cell, dict) and cell.get("bytes"):
        return cell["bytes"]
    path = cell.get("path") if isinstance(cell, dict) else None
    if not path:
        raise AudioError(f"{name}: the row holds no audio")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise AudioError(f"{name}: {path}: cannot be read ({error.strerror or error})") from error


def _is_saved(path: Path) -> bool:
    return any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))


def _load(source: DatasetSource, *, streaming: bool) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError("datasets", "train") from error
    path = Path(source.location)
    try:
        if not source.is_local:
            return _load_from_hub(source, streaming)
        if _is_saved(path):
            return datasets.load_from_disk(source.location)
        if path.is_file():
            return datasets.load_dataset("parquet", data_files=source.location, split="train", streaming=streaming)
        return datasets.load_dataset(source.location, data_dir=source.config, streaming=streaming)
    # The library lets through what pyarrow, fsspec and the hub's client raise, which share no narrower base.
    except (
        OSError,
        ValueError,
        RuntimeError,
        LookupError,
        TypeError,
        datasets.exceptions.DatasetsError,
    ) as error:
        where = "" if source.is_local else " (there is no local path of that name either)"
        reason = " ".join(str(error).split())[:500]
        raise DataError(f"{source}: cannot be loaded{where}: {type(error).__name__}: {reason}") from error


def _load_from_hub(source: DatasetSource, streaming: bool) -> Any:
    import datasets

    try:
        return datasets.load_dataset(source.location, name=source.config, streaming=streaming, split=source.split)
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        # Old corpora are a program that is not run any more; the hub keeps their rows as parquet in a branch,
        # in one folder per configuration and split.
        return datasets.load_dataset(
            source.location,
            data_dir=source.config,
            revision=_CONVERTED_REVISION,
            streaming=streaming,
            split=source.split,
        )


def _choose_split(loaded: Any, source: DatasetSource) -> Any:
    if not isinstance(loaded, dict):
        return loaded
    names = list(loaded)
    if source.split is None and len(names) == 1:
        return loaded[names[0]]
    if source.split is None:
        raise DataError(f"{source}: has the splits {', '.join(names)}; name one, for example {source}@{names[-1]}")
    if source.split not in loaded:
        raise DataError(
            f"{source}: has no split '{source.split}'{did_you_mean(source.split, names)} "
            f"(there are: {', '.join(names)})"
        )
    return loaded[source.split]


def _without_decoding(dataset: Any, source: DatasetSource) -> Any:
    import datasets

    features = dataset.features
    if features is None:
        return dataset
    for column, feature in features.items():
        if isinstance(feature, datasets.Audio):
            dataset = dataset.cast_column(column, datasets.Audio(decode=False))
    return dataset
