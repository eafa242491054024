"""Every model family in words: hub ids, languages, licence, abilities, and what is not runnable here and why.

Read by ``asr-headroom models list``, which also writes ``docs/models.md`` from it. Nothing is loaded or downloaded:
what a loaded model says of itself is in its ``ModelCard``, and the conformance suite holds the two equal. Dimensions of
published checkpoints are in :mod:`asr_headroom.models.architecture`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from asr_headroom.models.protocols import Abilities

__all__ = ["Checkpoint", "Elsewhere", "FamilyEntry", "catalogue", "elsewhere"]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One published checkpoint, or several of the same kind.

    Attributes:
        model_id: on the hub.
        licence: as its page states it.
        languages: primary subtags, where they differ from the family's.
        parameters: number of weights, where :mod:`asr_headroom.models.architecture` does not compute it.
        note: what sets it apart.
    """

    model_id: str
    licence: str
    languages: tuple[str, ...] | None = None
    parameters: int | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class FamilyEntry:
    """One family that runs here.

    Attributes:
        family: name in the registry.
        title: for people.
        architecture: in a few words.
        checkpoints: that it loads; fine-tuned descendants load as well.
        languages: primary subtags of the multilingual checkpoints; empty where each checkpoint has its own.
        abilities: of the multilingual checkpoints as loaded by default.
        extra: of this package that installs what it needs.
        notes: what a user must know, a sentence each.
    """

    family: str
    title: str
    architecture: str
    checkpoints: tuple[Checkpoint, ...]
    languages: tuple[str, ...]
    abilities: Abilities
    extra: str = "train"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """A model that people ask for and that cannot run in this environment."""

    title: str
    model_ids: tuple[str, ...]
    reason: str


_WHISPER_LANGUAGES = """
en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml cy sk
te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo
ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su
"""
_WITH_CANTONESE = (*_WHISPER_LANGUAGES.split(), "yue")

_WHISPER = FamilyEntry(
    family="whisper",
    title="Whisper and its descendants",
    architecture="encoder-decoder over 30 s windows",
    checkpoints=(
        *(
            Checkpoint(model_id=f"openai/whisper-{size}", licence="apache-2.0")
            for size in ("tiny", "base", "small", "medium", "large-v2")
        ),
        Checkpoint(model_id="openai/whisper-large-v3", licence="apache-2.0", languages=_WITH_CANTONESE),
        Checkpoint(
            model_id="openai/whisper-large-v3-turbo", licence="mit", languages=_WITH_CANTONESE, note="4 decoder layers"
        ),
        *(
            Checkpoint(model_id=f"openai/whisper-{size}.en", licence="apache-2.0", languages=("en",))
            for size in ("tiny", "base", "small", "medium")
        ),
        *(
            Checkpoint(model_id=f"distil-whisper/distil-{size}", licence="mit", languages=("en",), note=note)
            for size, note in (
                ("small.en", "4 decoder layers"),
                ("medium.en", "2 decoder layers"),
                ("large-v2", "2 decoder layers"),
                ("large-v3", "2 decoder layers"),
            )
        ),
        Checkpoint(
            model_id="bofenghuang/whisper-large-v3-french-distil-dec4",
            licence="mit",
            languages=("fr",),
            note="4 decoder layers",
        ),
        Checkpoint(model_id="BELLE-2/Belle-whisper-large-v3-zh", licence="apache-2.0", languages=("zh",)),
    ),
    languages=tuple(_WHISPER_LANGUAGES.split()),
    abilities=Abilities(
        beam_search=True,
        can_sample=True,
        can_nbest=True,
        language_prompt=True,
        free_language=False,
        spectrogram_spans=True,
    ),
    notes=(
        "With `window: fit` the encoder runs over the whole seconds that hold a recording; recordings of one window "
        "share a batch, and results say which window they are of.",
        "Whatever transformers' Whisper class opens loads too: fine-tuned and distilled descendants, PEFT adapters.",
    ),
)

_EUROPEAN = "bg cs da de el en es et fi fr hr hu it lt lv mt nl pl pt ro ru sk sl sv uk"
"""The 25 languages of NVIDIA's Granary models, Canary 1B v2 and Parakeet TDT v3."""

_PROMPTED_FAST_CONFORMER = Abilities(
    beam_search=True, batch_norm=True, language_prompt=True, can_sample=True, can_nbest=True, spectrogram_spans=True
)

_CANARY = FamilyEntry(
    family="canary",
    title="Canary",
    architecture="FastConformer encoder, Transformer decoder, prompted",
    checkpoints=(Checkpoint(model_id="nvidia/canary-1b-v2", licence="cc-by-4.0", note="32 + 8 layers"),),
    languages=tuple(_EUROPEAN.split()),
    abilities=_PROMPTED_FAST_CONFORMER,
    notes=(
        "Speech is transcribed in its own language, with punctuation; translation is not asked for.",
        "The folder must be in transformers' layout; a NeMo archive is not read.",
    ),
)

_COHERE_LANGUAGES = "ar de el en es fr it ja ko nl pl pt vi zh"

_COHERE = FamilyEntry(
    family="cohere-asr",
    title="Cohere Transcribe",
    architecture="FastConformer encoder, Transformer decoder, prompted",
    checkpoints=(
        Checkpoint(model_id="CohereLabs/cohere-transcribe-03-2026", licence="apache-2.0", note="48 + 8 layers"),
    ),
    languages=tuple(_COHERE_LANGUAGES.split()),
    abilities=_PROMPTED_FAST_CONFORMER,
    notes=("Recordings beyond 35 s are refused: the feature extractor would cut them into several.",),
)

_MOONSHINE = FamilyEntry(
    family="moonshine",
    title="Moonshine",
    architecture="encoder-decoder over the waveform",
    checkpoints=tuple(
        Checkpoint(model_id=f"UsefulSensors/moonshine-{size}", licence="mit", languages=("en",), note=note)
        for size, note in (("tiny", "6 + 6 layers"), ("base", "8 + 8 layers"))
    ),
    languages=(),
    abilities=Abilities(beam_search=True, free_language=True, can_sample=True, can_nbest=True),
    notes=(
        "A checkpoint writes the one language that it was trained on, whatever the manifest says.",
        "Recordings of different lengths are encoded one by one: the encoder normalises over padding too.",
    ),
)

_TRANSDUCER_ABILITIES = Abilities(
    batch_norm=True, timestamps=True, free_language=True, can_sample=True, tokenwise=False, spectrogram_spans=True
)
_TRANSDUCER_NOTES = (
    "The language is not told; multilingual checkpoints hear which it is.",
    "Search is greedy. A text's probability is the sum over all its alignments, in one number.",
)

_PARAKEET_RNNT = FamilyEntry(
    family="parakeet-rnnt",
    title="Parakeet RNN-T",
    architecture="FastConformer encoder, transducer",
    checkpoints=(
        Checkpoint(
            model_id="nvidia/parakeet-rnnt-0.6b",
            licence="cc-by-4.0",
            languages=("en",),
            note="needs transformers' layout; a NeMo archive is not read",
        ),
    ),
    languages=(),
    abilities=_TRANSDUCER_ABILITIES,
    notes=(*_TRANSDUCER_NOTES, "The loss is computed here; torchaudio is not needed."),
)

_PARAKEET_TDT = FamilyEntry(
    family="parakeet-tdt",
    title="Parakeet TDT",
    architecture="FastConformer encoder, token-and-duration transducer",
    checkpoints=(
        Checkpoint(
            model_id="nvidia/parakeet-tdt-0.6b-v3",
            licence="cc-by-4.0",
            languages=tuple(_EUROPEAN.split()),
            note="24 layers",
        ),
    ),
    languages=(),
    abilities=_TRANSDUCER_ABILITIES,
    notes=(
        *_TRANSDUCER_NOTES,
        "Draws are as frequent as their probability up to one factor per utterance: some paths lead nowhere, have a "
        "probability all the same, and are drawn again.",
    ),
)

_CTC_ABILITIES = Abilities(beam_search=True, free_language=True, can_sample=True, can_nbest=True, tokenwise=False)
_MEL_CTC_ABILITIES = replace(_CTC_ABILITIES, batch_norm=True)
_FRESH_HEAD = "`train --vocabulary from-data` puts a fresh head over the characters of the transcripts on its encoder."

_GRANITE_SPEECH5 = FamilyEntry(
    family="granite-speech5",
    title="Granite Speech 5 (CTC)",
    architecture="conformer encoder that hears its own first guess, CTC head",
    checkpoints=(Checkpoint(model_id="ibm-granite/granite-speech-5.0-470m-turboctc", licence="apache-2.0"),),
    languages=(),
    abilities=_MEL_CTC_ABILITIES,
    notes=("Its head is tied to its encoder and cannot be replaced. Features are computed without torchaudio.",),
)

_LASR = FamilyEntry(
    family="lasr",
    title="LASR (MedASR)",
    architecture="conformer encoder, CTC head",
    checkpoints=(Checkpoint(model_id="google/medasr", licence="other", languages=("en",), note="medical dictation"),),
    languages=(),
    abilities=_MEL_CTC_ABILITIES,
    notes=(_FRESH_HEAD,),
)

_PARAKEET_CTC = FamilyEntry(
    family="parakeet-ctc",
    title="Parakeet CTC",
    architecture="FastConformer encoder, CTC head",
    checkpoints=(
        Checkpoint(model_id="nvidia/parakeet-ctc-1.1b", licence="cc-by-4.0", languages=("en",), note="42 layers"),
    ),
    languages=(),
    abilities=replace(_MEL_CTC_ABILITIES, spectrogram_spans=True),
    notes=(_FRESH_HEAD,),
)

_WAV2VEC2_CTC = FamilyEntry(
    family="wav2vec2-ctc",
    title="wav2vec 2.0, XLS-R, MMS, HuBERT, data2vec and wav2vec2-BERT with CTC heads",
    architecture="transformer or conformer encoder trained without transcripts, CTC head",
    checkpoints=(
        Checkpoint(
            model_id="facebook/wav2vec2-base-960h",
            licence="apache-2.0",
            languages=("en",),
            note="no padding mask: only recordings of one length share a batch",
        ),
        Checkpoint(model_id="facebook/hubert-large-ls960-ft", licence="apache-2.0", languages=("en",)),
        Checkpoint(model_id="bofenghuang/asr-wav2vec2-ctc-french", licence="apache-2.0", languages=("fr",)),
        Checkpoint(model_id="facebook/mms-1b-all", licence="cc-by-nc-4.0", note="loaded with its English adapter"),
        Checkpoint(model_id="facebook/wav2vec2-xls-r-300m", licence="apache-2.0", note="without a head: give it one"),
        Checkpoint(model_id="facebook/wav2vec2-xls-r-1b", licence="apache-2.0", note="without a head: give it one"),
        Checkpoint(model_id="facebook/w2v-bert-2.0", licence="mit", note="without a head: give it one"),
    ),
    languages=(),
    abilities=_CTC_ABILITIES,
    notes=(_FRESH_HEAD,),
)

_WHISPER_CTC = FamilyEntry(
    family="whisper-ctc",
    title="CTC head on a Whisper encoder",
    architecture="Whisper's encoder, CTC head over characters",
    checkpoints=(),
    languages=(),
    abilities=replace(_CTC_ABILITIES, spectrogram_spans=True),
    notes=(
        "Made by `train --vocabulary from-data` from any Whisper; the decoder is left out.",
        "Windows are as for Whisper; the padding behind a recording is in no loss and no text.",
    ),
)

_LLM_ABILITIES = Abilities(beam_search=True, language_prompt=True, free_language=True, can_sample=True, can_nbest=True)

_FUN_ASR_NANO = FamilyEntry(
    family="fun-asr-nano",
    title="Fun-ASR-Nano",
    architecture="SenseVoice encoder, adaptor, Qwen3 language model",
    checkpoints=(Checkpoint(model_id="FunAudioLLM/Fun-ASR-Nano-2512-hf", licence="apache-2.0"),),
    languages=("zh", "en", "ja"),
    abilities=_LLM_ABILITIES,
    notes=("Recordings beyond 122 s are refused: the encoder has positions for 2048 frames.",),
)

_GLM_ASR = FamilyEntry(
    family="glm-asr",
    title="GLM-ASR-Nano",
    architecture="Whisper-like encoder over 30 s windows, Llama language model",
    checkpoints=(
        Checkpoint(model_id="zai-org/GLM-ASR-Nano-2512", licence="mit", note="1.5 B of them in the language model"),
    ),
    languages=("zh", "yue", "en"),
    abilities=Abilities(beam_search=True, free_language=True, can_sample=True, can_nbest=True),
    notes=("The language is not told; the model writes what it hears.",),
)

_GRANITE_SPEECH = FamilyEntry(
    family="granite-speech",
    title="Granite Speech",
    architecture="conformer encoder, Q-Former projector, Granite language model",
    checkpoints=(
        Checkpoint(model_id="ibm-granite/granite-speech-4.1-2b", licence="apache-2.0"),
        Checkpoint(
            model_id="ibm-granite/granite-speech-4.1-2b-plus",
            licence="apache-2.0",
            languages=("en", "fr", "de", "es", "pt"),
            note="neither punctuation nor capitals",
        ),
        Checkpoint(
            model_id="ibm-granite/granite-4.0-1b-speech", licence="apache-2.0", note="of the same dimensions as 4.1 2B"
        ),
        *(
            Checkpoint(
                model_id=f"ibm-granite/granite-speech-3.3-{size}",
                licence="apache-2.0",
                languages=("en", "fr", "de", "es", "pt"),
                note="its own adapter is folded in",
            )
            for size in ("2b", "8b")
        ),
    ),
    languages=("en", "fr", "de", "es", "pt", "ja"),
    abilities=Abilities(beam_search=True, batch_norm=True, free_language=True, can_sample=True, can_nbest=True),
    notes=(
        "The language is not told; results in another than those listed are marked as a mismatch.",
        "Activation checkpointing is of the language model alone.",
    ),
)

_QWEN_LANGUAGES = """
ar yue zh cs da nl en fil fi fr de el hi hu id it ja ko mk ms fa pl pt ro ru es sv th tr vi
"""

_QWEN3_ASR = FamilyEntry(
    family="qwen3-asr",
    title="Qwen3-ASR",
    architecture="Whisper-like encoder over 8 s windows, Qwen3 language model",
    checkpoints=(
        Checkpoint(model_id="Qwen/Qwen3-ASR-0.6B-hf", licence="apache-2.0"),
        Checkpoint(model_id="Qwen/Qwen3-ASR-1.7B-hf", licence="apache-2.0"),
    ),
    languages=tuple(_QWEN_LANGUAGES.split()),
    abilities=_LLM_ABILITIES,
    notes=(
        "Where a language is told it stands in the prompt, in training and in decoding; otherwise the model names it.",
        "The ids without `-hf` hold the authors' layout, which transformers cannot read; they are refused.",
    ),
)

_VOXTRAL = FamilyEntry(
    family="voxtral",
    title="Voxtral",
    architecture="Whisper encoder over 30 s windows, Mistral language model",
    checkpoints=(
        Checkpoint(model_id="mistralai/Voxtral-Mini-3B-2507", licence="apache-2.0"),
        Checkpoint(model_id="mistralai/Voxtral-Small-24B-2507", licence="apache-2.0"),
    ),
    languages=("en", "es", "fr", "pt", "hi", "de", "nl", "it"),
    abilities=_LLM_ABILITIES,
    extra="voxtral",
    notes=("Each begun window of 30 s costs the same, a recording of one second too.",),
)

# In alphabetical order of family, one entry each.
_CATALOGUE: tuple[FamilyEntry, ...] = (
    _CANARY,
    _COHERE,
    _FUN_ASR_NANO,
    _GLM_ASR,
    _GRANITE_SPEECH,
    _GRANITE_SPEECH5,
    _LASR,
    _MOONSHINE,
    _PARAKEET_CTC,
    _PARAKEET_RNNT,
    _PARAKEET_TDT,
    _QWEN3_ASR,
    _VOXTRAL,
    _WAV2VEC2_CTC,
    _WHISPER,
    _WHISPER_CTC,
)

_ELSEWHERE = (
    Elsewhere(
        title="OWSM-CTC",
        model_ids=("espnet/owsm_ctc_v4_1B",),
        reason="needs ESPnet; transformers has no class for it",
    ),
    Elsewhere(
        title="SenseVoice",
        model_ids=("FunAudioLLM/SenseVoiceSmall",),
        reason="needs FunASR; transformers has no class for it",
    ),
    Elsewhere(
        title="Canary-Qwen",
        model_ids=("nvidia/canary-qwen-2.5b",),
        reason="a NeMo checkpoint (SALM); transformers has no class for it. English only",
    ),
    Elsewhere(
        title="NeMo archives",
        model_ids=("nvidia/stt_*", "*.nemo"),
        reason="need NeMo; Parakeet and Canary are here from the hub ids that hold transformers' layout",
    ),
    Elsewhere(
        title="Qwen3-ASR in its authors' layout",
        model_ids=("Qwen/Qwen3-ASR-0.6B", "Qwen/Qwen3-ASR-1.7B"),
        reason="transformers finds none of its tensors and would draw them at random; take the ids that end in -hf",
    ),
    Elsewhere(
        title="VibeVoice-ASR",
        model_ids=("microsoft/VibeVoice-ASR-HF",),
        reason="transformers has a class, but its encoders run without gradients and add noise, its audio is 24 kHz "
        "and its output JSON with speakers; no family here wraps it",
    ),
    Elsewhere(
        title="MMS in another language than English",
        model_ids=("facebook/mms-1b-all",),
        reason="its adapters and vocabularies are chosen by load_adapter after loading, which strict loading here does "
        "not do; the checkpoint itself opens with its English adapter, and a fresh head trains on any language",
    ),
    Elsewhere(
        title="WavLM",
        model_ids=("microsoft/wavlm-*",),
        reason="tried and left out: its attention multiplies with its weights past any low-rank update on them, which "
        "would change nothing without a word; SEW and UniSpeech were not tried",
    ),
    Elsewhere(
        title="wav2vec2-conformer",
        model_ids=("facebook/wav2vec2-conformer-*",),
        reason="tried and left out: it fails the check of autocast, and its padding leaks",
    ),
    Elsewhere(
        title="Streaming models",
        model_ids=("nemotron_asr_streaming", "kyutai_speech_to_text", "moonshine_streaming", "voxtral_realtime"),
        reason="configs of these types have classes in transformers that decode chunk by chunk; none was tried here",
    ),
)


def catalogue() -> tuple[FamilyEntry, ...]:
    """All families that run here, in alphabetical order."""
    return _CATALOGUE


def elsewhere() -> tuple[Elsewhere, ...]:
    """What does not run here; ``score``, ``compare`` and ``report`` read files of its predictions."""
    return _ELSEWHERE
