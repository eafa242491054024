import json
from random import Random

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from asr_headroom.lab.lexicon import LANGUAGES, make_sentence
from asr_headroom.lab.model import base_path, build_model, build_tokenizer, save_checkpoint, target_text
from asr_headroom.models.whisper import Whisper, load

MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.mark.parametrize("language", LANGUAGES)
def test_tokenizer_is_lossless(tokenizer, language):
    random = Random(9)
    for _ in range(300):
        text = target_text(make_sentence(language, random), language)
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize("text", ["Où est l’œuf ? 42 €", "繁體字 與 emoji 🎈", " deux  espaces ", "ß\n\t"])
def test_tokenizer_is_lossless_beyond_its_grammars(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == text


def test_each_hanzi_is_one_token(tokenizer):
    random = Random(4)
    for _ in range(300):
        text = make_sentence("zh", random)
        assert len(tokenizer.encode(text, add_special_tokens=False)) == len(text)


def test_french_takes_less_than_a_token_for_two_letters(tokenizer):
    random = Random(4)
    texts = [make_sentence("fr", random) for _ in range(300)]
    tokens = sum(len(tokenizer.encode(" " + text, add_special_tokens=False)) for text in texts)
    assert tokens < 0.5 * sum(map(len, texts))


def test_reloaded_model_computes_the_same_within_16_bits(tokenizer, tmp_path):
    torch.manual_seed(0)
    model = build_model(tokenizer, width=64, encoder_layers=1, decoder_layers=1).eval()
    save_checkpoint(tmp_path, model, tokenizer)
    again = WhisperForConditionalGeneration.from_pretrained(tmp_path)
    assert again.dtype == torch.float32
    assert model.dtype == torch.float32
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight.half().float()), name
    features = torch.randn(1, 80, 200)
    inputs = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        logits = [m(input_features=features, decoder_input_ids=inputs).logits for m in (model, again)]
    assert (logits[0] - logits[1]).abs().max() < 0.05
    assert (logits[0] - logits[1]).abs().max() > 0  # or the weights would not be stored in 16 bits


def test_prompts_of_transformers_and_of_our_family_agree(tokenizer, tmp_path):
    save_checkpoint(tmp_path, build_model(tokenizer, width=64, encoder_layers=1, decoder_layers=1), tokenizer)
    whisper = load(str(tmp_path))
    for language in LANGUAGES:
        tokenizer.set_prefix_tokens(language=language, task="transcribe")
        prompt = tokenizer.convert_ids_to_tokens(whisper.prompt_ids(language))
        assert prompt == ["<|startoftranscript|>", f"<|{language}|>", "<|transcribe|>", "<|notimestamps|>"]
        assert tokenizer.prefix_tokens == whisper.prompt_ids(language)


def test_base_is_small():
    sizes = {path.name: path.stat().st_size for path in base_path().iterdir()}
    assert sum(sizes.values()) < 5 * MEBIBYTE, sizes


def test_base_loads_by_plain_transformers_and_transcribes():
    model = WhisperForConditionalGeneration.from_pretrained(base_path())
    processor = WhisperProcessor.from_pretrained(base_path())
    noise = np.random.default_rng(0).standard_normal(32_000).astype(np.float32) * 0.01
    features = processor(noise, sampling_rate=16_000, return_tensors="pt").input_features
    assert features.shape == (1, 80, 2 * model.config.max_source_positions)
    ids = model.generate(features, language="fr", task="transcribe", max_new_tokens=20)
    assert isinstance(processor.batch_decode(ids, skip_special_tokens=True)[0], str)


def test_base_has_todays_tokenizer(tokenizer):
    assert WhisperProcessor.from_pretrained(base_path()).tokenizer.get_vocab() == tokenizer.get_vocab()


def test_base_is_good_in_french_and_poor_in_mandarin():
    pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")
    from asr_headroom.lab.measure import count_sentences
    from asr_headroom.lab.speech import SpeechRecipe, render, shards
    from asr_headroom.metrics.error_rate import ErrorCounts

    whisper: Whisper = load(str(base_path()))
    rates = {}
    for language in ("fr", "zh"):
        recipe = SpeechRecipe(language=language, split="test", count=60, seed=77)
        sentences = [sentence for shard in render(shards(recipe)) for sentence in shard]
        rates[language] = ErrorCounts.total(count_sentences(whisper, sentences)).error_rate
    published = json.loads((base_path() / "pretraining.json").read_text(encoding="utf-8"))["test"]
    for language, rate in rates.items():
        assert abs(rate - published[language]["error_rate"]) < 0.08 + 0.2 * published[language]["error_rate"]
    assert rates["zh"] > 3 * rates["fr"]
