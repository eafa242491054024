"""Common Voice 21 (Ardila et al., 2020, arXiv:1912.06670), Mandarin: 3 to 7 s each, 32 kHz mp3 in parquet."""

from __future__ import annotations

from asr_headroom.data.corpora.profile import Profile

__all__ = ["CV21_ZH"]

CV21_ZH = Profile(
    name="cv21-zh",
    hub_id="keeve101/common-voice-21.0-2025-03-14-zh-CN-split",
    config=None,
    language="zh-CN",
    text_column="sentence",
    splits={"train": "train", "dev": "dev", "test": "test"},
    sizes={"train": 4000, "dev": 300, "test": 500},
    # "3 to 7 s"; no mean is stated, so the middle stands for it.
    durations=(3.0, 5.0, 7.0),
)
