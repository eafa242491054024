"""A CTC head on a Whisper encoder passes the suite; its encoder is Whisper's."""

from __future__ import annotations

import functools
from typing import ClassVar

import pytest
import torch

from asr_headroom.errors import ModelError
from asr_headroom.models.registry import load_model
from asr_headroom.testing.conformance import ConformanceSuite
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny.wav2vec2_ctc import LETTERS
from asr_headroom.testing.tiny.whisper import tiny_whisper
from asr_headroom.testing.tiny.whisper_ctc import tiny_whisper_ctc


class TestFullWindow(ConformanceSuite):
    make = staticmethod(tiny_whisper_ctc)

    def decode_target(self, model, ids):
        return model.processor.tokenizer.decode(list(ids), group_tokens=False)


class TestFittedWindow(TestFullWindow):
    make = staticmethod(functools.partial(tiny_whisper_ctc, window="fit"))
    load_options: ClassVar = {"window": "fit"}
    catalogued = False


def test_the_encoder_is_whispers_own_and_only_real_frames_count(tmp_path):
    whisper = tiny_whisper(layers=2, window="fit")
    whisper.save_pretrained(tmp_path)
    model = load_model(str(tmp_path), vocabulary=LETTERS, window="fit")
    assert model.card.family == "whisper-ctc"
    utterance = tone_utterance("abc")  # 0.75 s in a window of one
    states = whisper.encode(whisper.collate([utterance])).states
    encoded = model.encode(model.collate([utterance]))
    torch.testing.assert_close(encoded.logits, model.module.ctc_head(states))
    assert encoded.logits.shape[1] == 50
    assert encoded.frames.tolist() == [38]


def test_a_whisper_needs_a_vocabulary(tmp_path):
    tiny_whisper().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="--vocabulary from-data"):
        load_model(str(tmp_path), family="whisper-ctc")
