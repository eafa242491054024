import builtins

import numpy as np
import pytest

from asr_headroom.errors import ConfigError, MissingDependencyError
from asr_headroom.lab import espeak

pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")

SENTENCE = "le chat mange une pomme"


def test_speaks_for_about_as_long_as_the_rate_says():
    slow, fast = (espeak.synthesize(SENTENCE, "fr", rate=rate) for rate in (120, 240))
    assert slow.samples.dtype == np.float32
    assert 0.05 < np.abs(slow.samples).max() <= 1
    duration = len(slow.samples) / slow.sampling_rate
    assert 1 < duration < 4
    assert len(fast.samples) < 0.75 * len(slow.samples)


def test_word_events_point_at_the_words_of_the_text_in_order():
    speech = espeak.synthesize(SENTENCE, "fr")
    words = [event for event in speech.events if event.kind == "word"]
    assert [SENTENCE[word.position :].split()[0] for word in words] == SENTENCE.split()
    onsets = [word.onset for word in words]
    assert onsets == sorted(onsets)
    assert 0 <= onsets[0] < onsets[-1] < len(speech.samples) / speech.sampling_rate


def test_mandarin_has_an_event_for_words_of_hanzi_and_named_phonemes():
    speech = espeak.synthesize("我喜欢猫", "cmn")
    assert {event.position for event in speech.events if event.kind == "word"} <= {0, 1, 2, 3}
    assert any("m" in event.name for event in speech.events if event.kind == "phoneme")


def test_speech_lies_where_the_events_say():
    speech = espeak.synthesize(SENTENCE, "fr")
    last = max(event.onset for event in speech.events if event.kind == "phoneme" and event.name.strip("_:|"))
    loud = np.flatnonzero(np.abs(speech.samples) > 0.01) / speech.sampling_rate
    assert loud[-1] >= last


def test_unknown_voice_is_a_config_error():
    with pytest.raises(ConfigError, match="xx-none"):
        espeak.synthesize("a", "xx-none")


def test_missing_package_names_the_install_command(monkeypatch):
    def refuse(name, *args, **kwargs):
        if name == "espeakng_loader":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    real_import = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", refuse)
    espeak._engine.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"pip install 'asr-headroom\[lab\]'"):
        espeak.synthesize("a", "fr")
    espeak._engine.cache_clear()


def test_an_unknown_variant_is_refused_not_ignored():
    with pytest.raises(ConfigError, match="did you mean 'belinda'"):
        espeak.synthesize("bonjour", "fr", variant="belynda")
