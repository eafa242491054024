"""Configs: from plain values and back, all problems named."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest

from asr_headroom.config import (
    apply_overrides,
    field_descriptions,
    fingerprint,
    from_mapping,
    load_yaml,
    to_mapping,
)
from asr_headroom.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Inner:
    """Inside."""

    rank: int = 4
    """How many."""

    def __post_init__(self):
        if self.rank < 1:
            raise ConfigError(f"rank is {self.rank}")


@dataclass(frozen=True, kw_only=True)
class Outer:
    """Outside."""

    name: str
    """What it
    is called."""
    rate: float | None = None
    kind: Literal["a", "b"] = "a"
    files: tuple[str, ...] = ()
    flag: bool = False
    inner: Inner = field(default_factory=Inner)


def test_round_trip():
    config = Outer(name="x", rate=1e-4, files=("p", "q"), inner=Inner(rank=2))
    assert from_mapping(Outer, to_mapping(config)) == config


def test_numbers_in_yaml_are_taken_as_meant():
    # YAML 1.1 reads 1e-4 as a string.
    config = from_mapping(Outer, {"name": "x", "rate": "1e-4", "files": "one", "inner": {"rank": 2.0}})
    assert (config.rate, config.files, config.inner.rank) == (1e-4, ("one",), 2)


def test_all_problems_are_listed():
    with pytest.raises(ConfigError) as caught:
        from_mapping(Outer, {"nam": "x", "rate": "fast", "kind": "c", "flag": "maybe", "inner": {"rnk": 1}})
    message = str(caught.value)
    for part in ("unknown key 'nam'; did you mean 'name'", "'name' is missing", "config.rate is 'fast'",
                 "config.kind is 'c'", "config.flag is 'maybe'", "did you mean 'rank'"):  # fmt: skip
        assert part in message


@pytest.mark.parametrize("rank", [True, 1.5, "two", None, [1]])
def test_a_whole_number_is_asked_for(rank):
    with pytest.raises(ConfigError, match=r"inner\.rank is"):
        from_mapping(Outer, {"name": "x", "inner": {"rank": rank}})


def test_checks_of_the_class_are_reported_too():
    with pytest.raises(ConfigError, match="rank is 0"):
        from_mapping(Outer, {"name": "x", "inner": {"rank": 0}})


def test_overrides():
    values = apply_overrides({"inner": {"rank": 1}}, ["inner.rank=8", "files=[a, b]", "rate=null"])
    assert values == {"inner": {"rank": 8}, "files": ["a", "b"], "rate": None}
    for bad in ("rank", "=3", "inner.rank.x=1", "rate=[1"):
        with pytest.raises(ConfigError):
            apply_overrides({"inner": {"rank": 1}}, [bad])


def test_fingerprint_changes_with_any_field():
    prints = {fingerprint(c) for c in (Outer(name="x"), Outer(name="y"), Outer(name="x", inner=Inner(rank=2)))}
    assert len(prints) == 3
    assert fingerprint(Outer(name="x")) == fingerprint(to_mapping(Outer(name="x")))


def test_descriptions_are_read_from_the_source():
    assert field_descriptions(Outer) == {"name": "What it is called."}
    assert field_descriptions(Inner) == {"rank": "How many."}


@pytest.mark.parametrize("text", ["a: [", "- 1", "just words", "\x00"])
def test_unreadable_yaml(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        load_yaml(path)
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(path)
