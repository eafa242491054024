"""A CTC head on a Whisper encoder passes the suite; its encoder is Whisper's."""

from __future__ import annotations

import functools
from typing import ClassVar

from asr_headroom.testing.conformance import ConformanceSuite
from asr_headroom.testing.tiny.whisper_ctc import tiny_whisper_ctc


class TestFullWindow(ConformanceSuite):
    make = staticmethod(tiny_whisper_ctc)

    def decode_target(self, model, ids):
        return model.processor.tokenizer.decode(list(ids), group_tokens=False)


class TestFittedWindow(TestFullWindow):
    make = staticmethod(functools.partial(tiny_whisper_ctc, window="fit"))
    load_options: ClassVar = {"window": "fit"}
    catalogued = False
