"""The micro Whisper of the laboratory: the real Transformers classes, made small enough for a laptop CPU.

Everything that reads a Whisper checkpoint reads this one. Only the numbers differ: 1.3 million weights
instead of 39 million, windows of 4 s instead of 30 s, 25 encoder frames per second instead of 50, and a
vocabulary of a few hundred tokens made from the grammars of :mod:`asr_headroom.lab.lexicon`. Start with
:func:`build_model`; :func:`base_path` is the pretrained one that is shipped.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from asr_headroom.lab.lexicon import LANGUAGES, make_sentence
from asr_headroom.lab.settings import HOP_SAMPLES, WINDOW_SECONDS, base_path
from asr_headroom.lab.speech import SAMPLING_RATE
from asr_headroom.text.units import UNSPACED_LANGUAGES

__all__ = [
    "base_path",
    "build_feature_extractor",
    "build_model",
    "build_tokenizer",
    "save_checkpoint",
    "target_text",
]

MAX_TARGET_TOKENS = 96

# WhisperTokenizer finds a language by its place after <|startoftranscript|>, so those between en and fr are
# here too.
_SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|zh|>",
    "<|de|>",
    "<|es|>",
    "<|ru|>",
    "<|ko|>",
    "<|fr|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
_SPACED_PIECES = 240  # merges learned from French and English; the number of hanzi merges follows from the lexicon
_VOCABULARY_SENTENCES = 4000


def target_text(text: str, language: str) -> str:
    """A transcript as the decoder writes it: with a leading space in languages that have spaces."""
    return text if language in UNSPACED_LANGUAGES else f" {text}"


def build_tokenizer() -> WhisperTokenizer:
    """A byte-level BPE tokenizer that is lossless on any text and short on the laboratory's.

    Each hanzi of the Mandarin grammar is one token; French and English share pieces learned from their
    grammars.
    """
    merges = _hanzi_merges(sorted({hanzi for text in _sentences("zh") for hanzi in text}))
    merges += [merge for merge in _spaced_merges() if merge not in merges]
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces += [piece for piece in dict.fromkeys(left + right for left, right in merges) if piece not in pieces]
    return WhisperTokenizer(
        vocab={piece: index for index, piece in enumerate((*pieces, *_SPECIAL_TOKENS))},
        merges=merges,
        extra_special_tokens=list(_SPECIAL_TOKENS[1:]),
        pad_token="<|endoftext|>",
    )


def build_feature_extractor() -> WhisperFeatureExtractor:
    """80 log-mel bins, 400-point transform every 20 ms, windows of 4 s."""
    return WhisperFeatureExtractor(
        feature_size=80,
        sampling_rate=SAMPLING_RATE,
        hop_length=HOP_SAMPLES,
        chunk_length=WINDOW_SECONDS,
        n_fft=400,
    )


def build_model(
    tokenizer: WhisperTokenizer, *, width: int = 128, encoder_layers: int = 3, decoder_layers: int = 2
) -> WhisperForConditionalGeneration:
    """The architecture with random weights, and a generation config like that of a multilingual Whisper."""
    vocabulary = tokenizer.get_vocab()
    end, start = vocabulary["<|endoftext|>"], vocabulary["<|startoftranscript|>"]
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=80,
        d_model=width,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        encoder_attention_heads=width // 32,
        decoder_attention_heads=width // 32,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        max_source_positions=WINDOW_SECONDS * SAMPLING_RATE // HOP_SAMPLES // 2,
        max_target_positions=MAX_TARGET_TOKENS,
        init_std=0.05,
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        suppress_tokens=None,
        begin_suppress_tokens=[end],
        dtype="float32",
    )
    model = WhisperForConditionalGeneration(config)
    _start_decoder_in_time(model)
    model.generation_config = _generation_config(tokenizer)
    return model


def save_checkpoint(
    directory: Path, model: WhisperForConditionalGeneration, tokenizer: WhisperTokenizer, *, half: bool = True
) -> None:
    """Writes a folder that ``from_pretrained`` of model and processor read.

    Args:
        directory: made if needed.
        model: float32; left as it is.
        tokenizer: as built here.
        half: store the weights in 16 bits. The config keeps saying float32, which is how they are loaded
        again.
    """
    directory.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.half() if half else tensor for name, tensor in model.state_dict().items()}
    # The output projection is the input embedding; saving the tie twice would double it.
    weights.pop("proj_out.weight")
    model.save_pretrained(directory, state_dict=weights)
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "dtype": "float32"}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    WhisperProcessor(build_feature_extractor(), tokenizer).save_pretrained(directory)


def _sentences(language: str) -> list[str]:
    random = Random(0)
    return [make_sentence(language, random) for _ in range(_VOCABULARY_SENTENCES)]


def _hanzi_merges(characters: list[str]) -> list[tuple[str, str]]:
    """Merges that join the UTF-8 bytes of each character, left to right."""
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    merges: dict[tuple[str, str], None] = {}
    for character in characters:
        letters = splitter.pre_tokenize_str(character)[0][0]
        for end in range(1, len(letters)):
            merges[letters[:end], letters[end]] = None
    return list(merges)


def _spaced_merges() -> list[tuple[str, str]]:
    """Merges learned from French and English sentences."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + _SPACED_PIECES, initial_alphabet=alphabet, show_progress=False
    )
    spaced = [language for language in LANGUAGES if language not in UNSPACED_LANGUAGES]
    learner.train_from_iterator((f" {text}" for name in spaced for text in _sentences(name)), trainer)
    return [(left, right) for left, right in json.loads(learner.to_str())["model"]["merges"]]


def _start_decoder_in_time(model: WhisperForConditionalGeneration) -> None:
    """Starts decoder positions from encoder positions, at 2.7 frames a token.

    Queries and keys of neighbouring times then agree from the first step on.
    """
    encoder = model.model.encoder.embed_positions.weight
    decoder = model.model.decoder.embed_positions.weight
    with torch.no_grad():
        for position in range(len(decoder)):
            frame = min(len(encoder) - 1, max(0, int((position - 3) * 2.7)))
            decoder[position] = 0.3 * encoder[frame]


def _generation_config(tokenizer: WhisperTokenizer) -> GenerationConfig:
    ids = tokenizer.get_vocab()
    end = ids["<|endoftext|>"]
    return GenerationConfig(
        decoder_start_token_id=ids["<|startoftranscript|>"],
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        is_multilingual=True,
        lang_to_id={f"<|{language}|>": ids[f"<|{language}|>"] for language in sorted(LANGUAGES)},
        task_to_id={task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")},
        no_timestamps_token_id=ids["<|notimestamps|>"],
        prev_sot_token_id=ids["<|startofprev|>"],
        max_length=MAX_TARGET_TOKENS,
        suppress_tokens=None,
        begin_suppress_tokens=[end],
        return_timestamps=False,
    )
