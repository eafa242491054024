"""Tiny random models of many families in folders, for ``bench`` over real speech in one process.

The weights are random, so that error rates mean nothing: what it shows is that one environment serves all families, and
what the table says of each.

    python experiments/bench_families.py runs/families
    asr-headroom bench --models runs/families/* --data ../shared/speech/fixtures/all.jsonl --output runs/bench-families
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from asr_headroom.testing.tiny.canary import tiny_canary
from asr_headroom.testing.tiny.fun_asr_nano import tiny_fun_asr_nano
from asr_headroom.testing.tiny.glm_asr import tiny_glm_asr
from asr_headroom.testing.tiny.granite_speech import tiny_granite_speech
from asr_headroom.testing.tiny.mel_ctc import tiny_mel_ctc
from asr_headroom.testing.tiny.moonshine import tiny_moonshine
from asr_headroom.testing.tiny.parakeet_tdt import tiny_parakeet_tdt
from asr_headroom.testing.tiny.qwen3_asr import tiny_qwen3_asr
from asr_headroom.testing.tiny.wav2vec2_ctc import tiny_wav2vec2_ctc
from asr_headroom.testing.tiny.whisper import tiny_whisper

FAMILIES: dict[str, Any] = {
    "canary": tiny_canary,
    "fun-asr-nano": tiny_fun_asr_nano,
    "glm-asr": tiny_glm_asr,
    "granite-speech": tiny_granite_speech,
    "moonshine": tiny_moonshine,
    "parakeet-ctc": tiny_mel_ctc,
    "parakeet-tdt": tiny_parakeet_tdt,
    "qwen3-asr": tiny_qwen3_asr,
    "wav2vec2-ctc": tiny_wav2vec2_ctc,
    "whisper": lambda: tiny_whisper(window_seconds=30),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder for one folder per family")
    arguments = parser.parse_args()
    for name, make in FAMILIES.items():
        make().save_pretrained(arguments.output / name)
        print(arguments.output / name)


if __name__ == "__main__":
    main()
