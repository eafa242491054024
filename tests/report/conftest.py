import numpy as np
import pytest
import soundfile

from asr_headroom.testing.results import make_results

SENTENCES = [f"la phrase numéro {i} a quelques mots de plus" for i in range(40)]


def spoil(sentence, every, index):
    """Drops the last word of every n-th sentence."""
    return sentence.rsplit(" ", 1)[0] if index % every == 0 else sentence


@pytest.fixture
def base():
    texts = [(s, spoil(s, 2, i)) for i, s in enumerate(SENTENCES)]
    model = {"id": "hub/base", "family": "whisper", "parameters": 1_000_000}
    return make_results(texts, name="base", language="fr", model=model, minutes={"transcribe": 0.5})


@pytest.fixture
def tuned():
    """Comes from ``base``, is better on most and worse on some."""
    texts = [(s, spoil(s, 7, i + 1)) for i, s in enumerate(SENTENCES)]
    model = {
        "id": "runs/tuned",
        "family": "whisper",
        "parameters": 1_000_000,
        "trainable_parameters": 50_000,
        "method": "lora",
    }
    minutes = {"train steps": 3.0, "transcribe": 0.5}
    return make_results(texts, name="base · lora", language="fr", model=model, minutes=minutes, parent="base")


@pytest.fixture
def bigger():
    model = {"id": "hub/bigger", "parameters": 9_000_000}
    return make_results([(s, s) for s in SENTENCES], name="bigger", language="fr", model=model)


@pytest.fixture
def other_test():
    """A run on other utterances, called like ``base``."""
    return make_results(
        [(s + " encore", s) for s in SENTENCES], name="base", data={"name": "guard", "fingerprint": "ffff"}
    )


@pytest.fixture
def recordings(tmp_path):
    """Forty short tones as wav files, 44.1 kHz stereo."""
    paths = []
    for i in range(len(SENTENCES)):
        time = np.arange(22_050) / 44_100
        tone = 0.3 * np.sin(2 * np.pi * (200 + 10 * i) * time)
        paths.append(tmp_path / f"{i}.wav")
        soundfile.write(paths[-1], np.stack([tone, tone], axis=1), 44_100)
    return paths


@pytest.fixture
def guard():
    """Makes guard facts: three points, a target, a guard set that is harmed, and non-speech."""

    def facts(alpha=0.5, *, reason="it is the best.", language="fr"):
        def one(name, role, unit, of, rates, half):
            differences = [rate - rates[0] for rate in rates]
            return {
                "name": name, "role": role, "unit": unit, "language": of, "utterances": 40, "clusters": 40,
                "cluster_by": "utterance", "population": "new utterances", "rates": rates,
                "differences": differences, "p_values": [1.0, 0.01, 0.01],
                "ci_low": [0.0, *(d - half for d in differences[1:])],
                "ci_high": [0.0, *(d + half for d in differences[1:])],
            }  # fmt: skip

        return {
            "alpha": alpha,
            "reason": reason,
            "points": [0.0, 0.5, 1.0],
            "sets": [
                one("a dev", "target", "word", language, [0.2, 0.15, 0.1], 0.02),
                one("elsewhere dev", "guard", "character", "zh", [0.3, 0.31, 0.5], 0.02),
                one("silence and noise", "nonspeech", "word", language, [12.0, 6.5, 20.0], 3.0),
            ],
        }

    return facts
