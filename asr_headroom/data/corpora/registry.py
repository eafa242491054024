"""The profiles by name; sources write them ``name@split``."""

from __future__ import annotations

from pathlib import Path

from asr_headroom.data.corpora.common_voice import CV21_ZH
from asr_headroom.data.corpora.fleurs import FLEURS_FR
from asr_headroom.data.corpora.profile import Profile, load
from asr_headroom.data.manifest import Manifest
from asr_headroom.errors import DataError, did_you_mean

__all__ = ["PROFILES", "load_profile"]

PROFILES: dict[str, Profile] = {profile.name: profile for profile in (CV21_ZH, FLEURS_FR)}


def load_profile(name: str, split: str, root: str | Path | None = None, *, language: str | None = None) -> Manifest:
    """One split of a profile; see :func:`asr_headroom.data.corpora.profile.load`.

    Raises:
        DataError: unknown profile or split, or the corpus cannot be loaded.
    """
    if name not in PROFILES:
        raise DataError(f"unknown profile '{name}'{did_you_mean(name, PROFILES)} (there are: {', '.join(PROFILES)})")
    return load(PROFILES[name], split, root, language)
