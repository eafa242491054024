"""Frozen dataclasses from and to YAML, dotted overrides, and a fingerprint.

The string under a field is its only description: command-line help and templates are made from it. A YAML file holds
differences from the defaults; unknown keys are errors with a suggestion. This module knows no stage's config.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import inspect
import json
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from asr_headroom.errors import ConfigError, did_you_mean

__all__ = ["apply_overrides", "field_descriptions", "fingerprint", "from_mapping", "load_yaml", "to_mapping"]

C = TypeVar("C")


def from_mapping(config_type: type[C], values: Mapping[str, Any], *, where: str = "config") -> C:
    """A config from nested plain values; missing keys take their defaults.

    Raises:
        ConfigError: unknown, missing or wrongly typed keys; all of them are listed, not only the first.
    """
    problems: list[str] = []
    config = _build(config_type, values, where, problems)
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def to_mapping(config: Any) -> dict[str, Any]:
    """A config as nested plain values, every field included, ready for JSON or YAML."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def fingerprint(value: Any) -> str:
    """Twelve hexadecimal digits that change when the value does; accepts configs and plain values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = to_mapping(value)
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds no mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path that holds NUL
        raise ConfigError(f"{path}: cannot be read ({error}); give the path of a YAML file") from error
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # PyYAML lets a ValueError out of impossible dates and numbers.
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds a {type(values).__name__}; write 'key: value' lines")
    try:
        json.dumps(values, default=str)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not plain keys and values ({error}); write keys as text, without loops") from error
    return values


def apply_overrides(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Nested values with ``dotted.key=value`` overrides applied; the value is read as YAML.

    >>> apply_overrides({"lora": {"rank": 32}}, ["lora.rank=8", "seed=1"])
    {'lora': {'rank': 8}, 'seed': 1}

    Raises:
        ConfigError: an override has no ``=``, or goes through a key that holds no mapping.
    """
    result = json.loads(json.dumps(dict(values), default=str))
    for override in overrides:
        key, separator, raw = override.partition("=")
        if not separator or not key:
            raise ConfigError(f"--set {override}: write --set key=value, for example --set lora.rank=8")
        *parents, last = key.strip().split(".")
        node = result
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ConfigError(f"--set {override}: '{parent}' is a single value and has no '{last}' inside")
        try:
            node[last] = yaml.safe_load(raw)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(f"--set {override}: the value is not valid YAML") from error
    return result


@functools.cache
def field_descriptions(config_type: type) -> dict[str, str]:
    """The string under each field of a dataclass, by field name."""
    descriptions: dict[str, str] = {}
    for owner in reversed(config_type.__mro__):
        if not dataclasses.is_dataclass(owner):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        assert isinstance(body, ast.ClassDef)
        for node, following in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
            ):
                descriptions[node.target.id] = " ".join(str(following.value.value).split())
    return descriptions


def _build(config_type: type[C], values: Any, where: str, problems: list[str]) -> Any:
    if not isinstance(values, Mapping):
        problems.append(f"{where} is {values!r}; write a mapping of its fields")
        return None
    hints = typing.get_type_hints(config_type)
    fields = {field.name: field for field in dataclasses.fields(config_type)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            problems.append(
                f"{where}: unknown key '{key}'{did_you_mean(str(key), fields)} (there are: {', '.join(fields)})"
            )
    before = len(problems)
    arguments = {}
    for name, field in fields.items():
        if name in values:
            arguments[name] = _convert(values[name], hints[name], f"{where}.{name}", problems)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.append(f"{where}: '{name}' is missing; it has no default")
    if len(problems) > before or any(key not in fields for key in values):
        return None
    try:
        return config_type(**arguments)
    except ConfigError as error:
        problems.append(str(error))
        return None


def _convert(value: Any, hint: Any, where: str, problems: list[str]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else _build(hint, value, where, problems)  # type: ignore[arg-type]
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        attempts = []
        for option in arguments:
            if option is type(None):
                continue
            trial: list[str] = []
            converted = _convert(value, option, where, trial)
            if not trial:
                return converted
            attempts.append(trial)
        problems.extend(attempts[0])
        return None
    if origin is typing.Literal:
        if value not in arguments:
            names = ", ".join(map(str, arguments))
            problems.append(
                f"{where} is {value!r}{did_you_mean(str(value), map(str, arguments))} (choose from: {names})"
            )
        return value
    if origin in (tuple, list):
        items = [value] if isinstance(value, str) or not isinstance(value, (list, tuple)) else value
        return tuple(_convert(item, arguments[0], f"{where}[{i}]", problems) for i, item in enumerate(items))
    if origin in (dict, Mapping) or hint in (dict, Any):
        return value
    return _convert_scalar(value, hint, where, problems)


def _convert_scalar(value: Any, hint: Any, where: str, problems: list[str]) -> Any:
    try:
        if hint is bool and isinstance(value, str):
            return {"true": True, "yes": True, "false": False, "no": False}[value.lower()]
        if hint is bool and isinstance(value, bool):
            return value
        if hint is int and not isinstance(value, bool) and float(value) == int(float(value)):
            return int(float(value))
        if hint is float and not isinstance(value, bool):
            return float(value)
        if hint in (str, Path) and value is not None and not isinstance(value, (dict, list)):
            return hint(value)
    except (TypeError, ValueError, KeyError, OverflowError):
        pass
    problems.append(f"{where} is {value!r}; it must be a {getattr(hint, '__name__', hint)}")
    return None
