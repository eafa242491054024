"""A grid over the settings of a training: every combination as a config of its own, checked before anything runs."""

from __future__ import annotations

import dataclasses
import itertools
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asr_headroom.config import fingerprint, from_mapping, to_mapping
from asr_headroom.errors import ConfigError, did_you_mean
from asr_headroom.stages.train_config import TrainStageConfig

__all__ = ["Grid", "Setting", "read_grid"]

_DECIDES_DEV = "it decides what dev measures, and all settings must be compared on the same"
_TELLS_NOTHING = "it changes no model"
_CANNOT_VARY = {
    **dict.fromkeys(
        ("dev", "eval_utterances", "guard_data", "language", "max_duration", "normalizer", "skip_bad", "streaming"),
        _DECIDES_DEV,
    ),
    **dict.fromkeys(("dataloader_num_workers", "logging_steps", "output"), _TELLS_NOTHING),
    "seed": "it is noise, no setting, and it draws the dev utterances; repeat the whole with another --seed",
    "budget": "it is that of the whole",
    "guard": "it chooses after the race, on what the race has found",
    "learning_rates": "vary learning_rate",
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One point of a grid.

    Attributes:
        name: its folder.
        values: what is its own, by dotted field.
        config: of its training.
    """

    name: str
    values: Mapping[str, Any]
    config: TrainStageConfig


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The settings of a grid.

    Attributes:
        settings: in the order of the grid, its last field turning fastest.
        merged: combinations that would be a training that is there already, as a rank is nothing to full fine-tuning.
    """

    settings: tuple[Setting, ...]
    merged: int


def read_grid(grid: Mapping[str, Any], base: TrainStageConfig) -> Grid:
    """All combinations of the values of a grid.

    Args:
        grid: lists of values by field, dotted or nested.
        base: what they share.

    Raises:
        ConfigError: a field is unknown or may not vary, a value is named twice or does not fit, or there is no choice.
    """
    if base.learning_rates:
        raise ConfigError("learning_rates is given; in an ablation vary learning_rate: --grid learning_rate=1e-4,1e-3")
    axes = dict(_axes(grid))
    if problems := [problem for name, values in axes.items() for problem in _problems(name, values)]:
        raise ConfigError("\n".join(problems))
    distinct: dict[str, TrainStageConfig] = {}
    merged = 0
    for combination in itertools.product(*axes.values()):
        config = _config_of(dict(zip(axes, combination, strict=True)), base)
        key = fingerprint(_what_counts(config))
        merged += key in distinct
        distinct.setdefault(key, config)
    if len(distinct) < 2:
        raise ConfigError("the grid holds a single setting; give two values of something, or use `asr-headroom train`")
    digits = len(str(len(distinct)))
    return Grid(
        settings=tuple(
            Setting(name=f"{number:0{digits}d}", values={name: _value(config, name) for name in axes}, config=config)
            for number, config in enumerate(distinct.values(), start=1)
        ),
        merged=merged,
    )


def _axes(grid: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Dotted fields and their values; nested mappings are opened."""
    for key, value in grid.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _axes(value, f"{name}.")
        else:
            yield name, list(value) if isinstance(value, (list, tuple)) else [value]


def _problems(name: str, values: Sequence[Any]) -> Iterator[str]:
    known = list(_fields(TrainStageConfig))
    if name not in known:
        yield f"grid: unknown field '{name}'{did_you_mean(name, known)} (`asr-headroom train --help` shows them)"
    elif reason := _CANNOT_VARY.get(name.split(".")[0]):
        yield f"grid: {name} cannot vary: {reason}"
    if not values:
        yield f"grid: {name} has no value; give a list such as [8, 32]"
    texts = [_text(value) for value in values]
    for text in dict.fromkeys(text for text in texts if texts.count(text) > 1):
        yield f"grid: {name} names {text} {texts.count(text)} times; name each value once"


def _text(value: Any) -> str:
    """Numbers that are equal read alike: YAML takes ``1e-4`` for text."""
    try:
        return f"{float(value):g}" if not isinstance(value, bool) else str(value)
    except (TypeError, ValueError):
        return json.dumps(value, sort_keys=True, default=str)


def _fields(config_type: type, prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields, nested configs' own included."""
    hints = typing.get_type_hints(config_type)
    for spec in dataclasses.fields(config_type):
        yield prefix + spec.name
        for option in _options(hints[spec.name]):
            if dataclasses.is_dataclass(option):
                yield from _fields(option, f"{prefix}{spec.name}.")  # type: ignore[arg-type]


def _options(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _config_of(values: Mapping[str, Any], base: TrainStageConfig) -> TrainStageConfig:
    mapping = to_mapping(base)
    for name, value in values.items():
        *parents, last = name.split(".")
        node = mapping
        for parent in parents:
            inner = node[parent] or {}
            node[parent] = inner
            node = inner
        node[last] = value
    label = ", ".join(f"{name}={value}" for name, value in values.items())
    return from_mapping(TrainStageConfig, mapping, where=f"setting {label}")


def _value(config: TrainStageConfig, name: str) -> Any:
    value: Any = to_mapping(config)
    for part in name.split("."):
        value = None if value is None else value[part]
    return value


def _what_counts(config: TrainStageConfig) -> dict[str, Any]:
    """What makes a training this one and no other."""
    mapping = to_mapping(config) | {"learning_rate": config.peak_learning_rate}
    if config.method != "lora":
        del mapping["lora"]
    if config.max_steps is not None:
        del mapping["num_train_epochs"]
    if config.replay is None:
        del mapping["replay_share"]
    parts = mapping["augment"]
    mapping["augment"] = {
        name: part for name, part in parts.items() if not (isinstance(part, dict) and part["probability"] == 0)
    }
    return mapping
