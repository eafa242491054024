"""Error counts of the micro model on synthetic speech that is still in memory."""

from __future__ import annotations

import io
from collections.abc import Sequence

import soundfile

from asr_headroom.data.manifest import Utterance
from asr_headroom.lab.speech import SAMPLING_RATE, SpokenSentence
from asr_headroom.metrics.error_rate import ErrorCounts, count_pair
from asr_headroom.models.protocols import Recognizer
from asr_headroom.text.normalize import normalizer_for_language

__all__ = ["by_voice", "count_sentences"]

_BATCH_UTTERANCES = 50


def count_sentences(recognizer: Recognizer, sentences: Sequence[SpokenSentence]) -> list[ErrorCounts]:
    """The counts of each utterance, in the unit its language is scored in (zh: characters, else words)."""
    counts = []
    for start in range(0, len(sentences), _BATCH_UTTERANCES):
        batch = [
            _utterance(sentence, start + row) for row, sentence in enumerate(sentences[start:][:_BATCH_UTTERANCES])
        ]
        for utterance, hypothesis in zip(batch, recognizer.transcribe(batch), strict=True):
            normalizer = normalizer_for_language(utterance.language)
            counts.append(count_pair(utterance.text, hypothesis.text, normalizer).of(normalizer.unit))
    return counts


def by_voice(sentences: Sequence[SpokenSentence], counts: Sequence[ErrorCounts]) -> dict[str, ErrorCounts]:
    """The sum of the counts of each voice, the hardest voice first."""
    totals: dict[str, ErrorCounts] = {}
    for sentence, count in zip(sentences, counts, strict=True):
        totals[sentence.voice] = totals.get(sentence.voice, ErrorCounts()) + count
    return dict(sorted(totals.items(), key=lambda item: -item[1].error_rate))


def _utterance(sentence: SpokenSentence, index: int) -> Utterance:
    buffer = io.BytesIO()
    soundfile.write(buffer, sentence.samples, SAMPLING_RATE, format="WAV", subtype="PCM_16")
    return Utterance(
        id=str(index),
        audio=buffer.getvalue(),
        text=sentence.text,
        language=sentence.language,
        speaker=sentence.voice,
        duration=sentence.duration,
    )
