"""Compiled layers train the same weights under the same names, and nobody else meets them."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file

from asr_headroom.errors import ConfigError, TrainingError
from asr_headroom.evaluate.transcribe import count_utterances
from asr_headroom.models.decoding import DecodingOptions
from asr_headroom.models.lora import LoraConfig
from asr_headroom.stages.rl import RlStageConfig
from asr_headroom.stages.train_config import TrainStageConfig
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.text.normalize import normalizer_for_language
from asr_headroom.train import compilation
from asr_headroom.train.compilation import CompiledLayers, check_compiler
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.guard import EvaluationSet
from asr_headroom.train.loop import Training
from asr_headroom.train.methods import apply_method

CPU = torch.device("cpu")
SPEECH = [tone_utterance(text) for text in ("abc", "cab", "bad", "cabbage", "dada", "face")]
# The compilers' own remarks on each other.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch.*"),
]


@pytest.mark.parametrize(
    "other",
    [{"fsdp": True, "method": "full"}, {"kl": 0.1}, {"gradient_checkpointing": True}],
    ids=lambda o: next(iter(o)),
)
def test_what_was_not_tried_is_refused(other):
    with pytest.raises(ConfigError, match=f"{next(iter(other))} was not tried with torch_compile"):
        TrainConfig(torch_compile=True, **other)


def test_neither_packed_weights_nor_rollouts_are_compiled():
    data = {"model": "m", "train": "t", "dev": "d", "torch_compile": True}
    with pytest.raises(ConfigError, match="quantization was not tried with torch_compile"):
        TrainStageConfig(**data, quantization="4bit")
    with pytest.raises(ConfigError, match="torch_compile is of the supervised loss"):
        RlStageConfig(**data)


def test_without_a_compiler_the_message_says_what_is_needed(monkeypatch):
    def no_compiler(function):
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(compilation.torch, "compile", no_compiler)
    with pytest.raises(TrainingError, match=r"torch_compile does not work here .*No working C\+\+ .* needs a C\+\+"):
        check_compiler(CPU)


def test_layers_are_as_they_were_outside_even_after_an_error(monkeypatch):
    monkeypatch.setattr(compilation, "check_compiler", lambda device: None)
    model = tiny_whisper(layers=2)
    names = list(model.module.state_dict())
    compiled = CompiledLayers(model.module, CPU)
    layers = [*model.module.model.encoder.layers, *model.module.model.decoder.layers]

    def fail():
        assert all(layer._compiled_call_impl is not None for layer in layers)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), compiled.at_work():
        fail()
    assert all(layer._compiled_call_impl is None for layer in layers)
    assert list(model.module.state_dict()) == names
    with pytest.raises(TrainingError, match="has no list of them"):
        CompiledLayers(torch.nn.Linear(2, 2), CPU)


def train(directory, method, **changes):
    """Three steps in windows of several lengths, the last with one row; no dropout, as the compiler draws its own."""
    config = TrainConfig(
        method=method, learning_rate=1e-3, max_steps=3, eval_steps=1, per_device_train_batch_size=2,
        lora=LoraConfig(dropout=0.0), **changes,
    )  # fmt: skip
    dev = EvaluationSet(name="dev", role="target", utterances=SPEECH[:2], normalizer=normalizer_for_language("en"))

    def measure(model, eval_set):
        return count_utterances(
            model, eval_set.utterances, DecodingOptions(max_new_tokens=4), normalizer=eval_set.normalizer, batch_size=2
        )

    model = apply_method(tiny_whisper(window="fit"), config)
    Training(model, SPEECH[:5], dev, config, directory, measure=measure).run()
    return load_file(next((directory / "checkpoints/step-00000003").glob("*model.safetensors")))


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="this machine has no C++ compiler")
@pytest.mark.parametrize("method", ["full", "lora"])
def test_training_ends_with_the_same_weights_under_the_same_names(tmp_path, method):
    plain, compiled = train(tmp_path / "plain", method), train(tmp_path / "compiled", method, torch_compile=True)
    assert plain.keys() == compiled.keys()
    for name, tensor in plain.items():
        torch.testing.assert_close(compiled[name], tensor, rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="this machine has no C++ compiler")
def test_a_broken_compiler_is_told():
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}):
        torch.compiler.reset()
        with pytest.raises(TrainingError, match="needs a C\\+\\+ compiler"):
            check_compiler(CPU)
    torch.compiler.reset()
