"""Flags from config classes: every flag is a field, its help is the string under the field.

A value is taken from, in rising order: the field's default, ``--config FILE``, the flag, ``--set key=value``.
"""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Collection
from typing import Any, TypeVar

import yaml

from asr_headroom.config import apply_overrides, field_descriptions, from_mapping, load_yaml, to_mapping
from asr_headroom.errors import ConfigError

__all__ = ["add_config_arguments", "config_from_arguments", "print_settings"]

C = TypeVar("C")


def add_config_arguments(
    parser: argparse.ArgumentParser, config_type: type, *, positional: Collection[str] = ()
) -> None:
    """Adds a flag for each plain field, ``--config`` and ``--set``. Nested configs are reached by ``--set``.

    Args:
        parser: to add to.
        config_type: a config dataclass.
        positional: fields that the caller takes as positional arguments instead.
    """
    hints = typing.get_type_hints(config_type)
    descriptions = field_descriptions(config_type)
    for spec in sorted(dataclasses.fields(config_type), key=lambda f: f.default is not dataclasses.MISSING):
        if spec.name in positional:
            continue
        hint = _without_none(hints[spec.name])
        required = spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
        text = descriptions.get(spec.name, "")
        if dataclasses.is_dataclass(hint):
            for name, inner in field_descriptions(hint).items():  # type: ignore[arg-type]
                parser.epilog = f"{parser.epilog or ''}\n  --set {spec.name}.{name}=…  {inner}"
            continue
        if not required and spec.default not in (None, False):
            text += f" [{spec.default}]"
        options: dict[str, Any] = {"dest": spec.name, "default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
        if hint is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(hint) is typing.Literal:
            options |= {"choices": typing.get_args(hint)}
        elif typing.get_origin(hint) is tuple:
            options |= {"nargs": "+", "metavar": spec.name.upper().rstrip("S")}
        else:
            options |= {"metavar": getattr(hint, "__name__", "VALUE").upper()}
        parser.add_argument("--" + spec.name.replace("_", "-"), **options)
    parser.add_argument("--config", metavar="FILE", help="YAML file with values for these fields")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="override one field, dots reach inside"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the settings (train, rl: and a forecast) and stop"
    )


def config_from_arguments(arguments: argparse.Namespace, config_type: type[C]) -> C:
    """The config that the parsed flags describe.

    Raises:
        ConfigError: a field is missing, unknown or malformed.
    """
    values = load_yaml(arguments.config) if arguments.config else {}
    for spec in dataclasses.fields(config_type):  # type: ignore[arg-type]
        if hasattr(arguments, spec.name):
            values[spec.name] = getattr(arguments, spec.name)
    values = apply_overrides(values, arguments.set)
    if not arguments.config:
        required = (
            spec.name
            for spec in dataclasses.fields(config_type)  # type: ignore[arg-type]
            if spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
        )
        missing = [name for name in required if name not in values]
        if missing:
            raise ConfigError("\n".join(f"'{name}' is missing; give --{name.replace('_', '-')}" for name in missing))
    return from_mapping(config_type, values, where=arguments.config or "config")


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(option for option in typing.get_args(hint) if option is not type(None))
    return hint


def print_settings(config: Any) -> int:
    """Prints every setting as YAML, as a dry run does."""
    print(yaml.safe_dump(to_mapping(config), sort_keys=False, allow_unicode=True), end="")
    return 0
