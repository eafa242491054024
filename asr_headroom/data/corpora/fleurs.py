"""FLEURS (Conneau et al., 2022, arXiv:2205.12446): read sentences, 16 kHz, several speakers per sentence."""

from __future__ import annotations

from asr_headroom.data.corpora.profile import Profile

__all__ = ["FLEURS_FR"]

FLEURS_FR = Profile(
    name="fleurs-fr",
    hub_id="google/fleurs",
    config="fr_fr",
    language="fr",
    text_column="transcription",
    splits={"train": "train", "dev": "validation", "test": "test"},
    sizes={"train": 3193, "dev": 289, "test": 500},
    filtered_sizes={"train": 3193, "dev": 289, "test": 675},
    durations=(3.8, 11.6, 29.4),
)
"""10.32 h to train on; the 500 test recordings hold 296 distinct sentences, so resample by sentence."""
