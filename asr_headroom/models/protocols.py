"""What a model family can do, as small protocols; each stage asks for the smallest that it needs.

A family is one file in this package (or another package's, by entry point). Nothing outside that file asks which
family it has: a new fact goes into :class:`ModelCard`, a new ability into a protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from asr_headroom.data.manifest import Utterance
from asr_headroom.models.decoding import GREEDY, ONE_GROUP, BeamGroups, DecodingOptions, Hypothesis, SamplingOptions

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "Abilities",
    "Batch",
    "Encoded",
    "LossSum",
    "ModelCard",
    "Recognizer",
    "Samplable",
    "TargetScores",
    "TeacherForced",
    "TokenLogProbs",
    "Trainable",
]


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What a family can do beyond its protocols, or does only inexactly; the conformance suite proves each.

    Attributes:
        batch_exact: outputs do not depend on what a recording is batched with. Where they do (an encoder without a
            padding mask), ``batch_key`` allows equal lengths only.
        beam_search: ``transcribe`` takes a ``beam_size`` above 1.
        batch_norm: the encoder has running statistics, which are frozen while training.
        checkpointing: activation checkpointing works, with equal gradients.
        timestamps: hypotheses carry segments.
        language_prompt: the language is told to the model, and one that it does not know is refused.
        free_language: a language need not be told.
        can_sample: hypotheses can be drawn at random; the family is :class:`Samplable`.
        can_nbest: ``nbest`` finds several hypotheses; the family is :class:`Samplable`.
        tokenwise: ``log_prob`` has a column per token and ends with the end token's. Where not (CTC), it has one
            column, the log-probability of the whole hypothesis.
        spectrogram_spans: ``loss`` hides of its log-mels what ``time_spans`` and ``mel_spans`` of a batch's inputs say
            (:func:`asr_headroom.audio.features.hide_spans`). Where not, SpecAugment hides them of the waveform.
    """

    batch_exact: bool = True
    beam_search: bool = False
    batch_norm: bool = False
    checkpointing: bool = True
    timestamps: bool = False
    language_prompt: bool = False
    free_language: bool = False
    can_sample: bool = False
    can_nbest: bool = False
    tokenwise: bool = True
    spectrogram_spans: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The facts of one loaded model that stages and tables need.

    Attributes:
        model_id: hub id, or the local folder it was loaded from.
        family: name in the registry.
        sampling_rate: Hz of the audio the model takes.
        max_duration: seconds; longer segments are refused. None is no limit.
        languages: primary subtags the checkpoint can be told to write; empty where it says nothing.
        parameters: number of weights, shared ones counted once.
        lora_targets: projections that low-rank updates attach to by default, as PEFT reads them.
        modules_to_save: modules that are trained and saved whole beside low-rank updates, such as a fresh CTC head.
        abilities: see :class:`Abilities`.
        licence: of the checkpoint, where it says so.
    """

    model_id: str
    family: str
    sampling_rate: int
    max_duration: float | None
    languages: tuple[str, ...]
    parameters: int
    lora_targets: str | tuple[str, ...]
    modules_to_save: tuple[str, ...] = ()
    abilities: Abilities = Abilities()
    licence: str | None = None


@dataclass
class Batch:
    """Tensors of some utterances, as their family's ``collate`` made them.

    Attributes:
        inputs: whatever the family's ``loss`` needs; supervised token ids stand in ``labels`` [rows, tokens], -100
            where nothing is supervised.
        num_targets: supervised target units (tokens) in it; sums over batches weigh each token alike.
        num_utterances: rows.
        audio_seconds: seconds of speech, padding not counted.
    """

    inputs: dict[str, torch.Tensor]
    num_targets: int
    num_utterances: int
    audio_seconds: float

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on ``device``."""
        inputs = {name: tensor.to(device, non_blocking=True) for name, tensor in self.inputs.items()}
        return Batch(inputs, self.num_targets, self.num_utterances, self.audio_seconds)


@dataclass
class LossSum:
    """Total nats over counted target units. Sums add over batches; means would not."""

    nats: torch.Tensor
    num_targets: int


@runtime_checkable
class Recognizer(Protocol):
    """Audio in, text out: all that the baseline sweep, evaluation and serving need."""

    card: ModelCard

    def transcribe(self, batch: Sequence[Utterance], options: DecodingOptions = GREEDY) -> list[Hypothesis]:
        """One hypothesis per utterance, in order."""
        ...

    def batch_key(self, utterance: Utterance) -> Hashable:
        """Utterances share a batch only if their keys are equal, so that no output depends on its neighbours."""
        ...

    def decoding_state(self) -> dict[str, Any]:
        """Settings of the model itself that change its output, for the decoding hash (for example the window)."""
        ...


@runtime_checkable
class Trainable(Recognizer, Protocol):
    """What supervised training adds."""

    module: nn.Module

    def check_target(self, utterance: Utterance) -> str | None:
        """Why this utterance cannot be trained on (transcript or audio too long …), or None."""
        ...

    def collate(self, batch: Sequence[Utterance]) -> Batch:
        """Tensors on the CPU; audio is read here and nowhere else."""
        ...

    def loss(self, batch: Batch) -> LossSum:
        """Total cross-entropy of the targets, in nats, float32."""
        ...

    def with_module(self, wrap: Callable[[nn.Module], nn.Module]) -> Trainable:
        """The same family around another module, for example with low-rank updates attached."""
        ...

    def checkpoint_activations(self) -> None:
        """Computes activations again in the backward pass instead of keeping them, from now on.

        Raises:
            ModelError: the family cannot (``abilities.checkpointing`` is False).
        """
        ...

    def save_pretrained(self, directory: Path) -> None:
        """Weights, tokenizer and feature settings, as ``from_pretrained`` (or PEFT, for an adapter) reads them."""
        ...


@dataclass
class TargetScores:
    """What a model expects at each place where it is supervised, the true past given.

    Attributes:
        loss: as :meth:`Trainable.loss` gives it, of the same forward pass.
        log_probs: [positions, vocab] float32, natural logarithm.
        targets: [positions] int64, the supervised tokens; None where a position is a frame, which has no target (CTC).
    """

    loss: LossSum
    log_probs: torch.Tensor
    targets: torch.Tensor | None


@runtime_checkable
class TeacherForced(Trainable, Protocol):
    """What label smoothing and staying near the base add: whole distributions, not the targets' share of them alone."""

    def target_scores(self, batch: Batch) -> TargetScores:
        """All positions of all rows, padding left out; gradients flow through it where they are on."""
        ...


class Encoded(Protocol):
    """Audio of some utterances, encoded once, however many hypotheses follow; rows keep their prompts."""

    def select(self, indices: Sequence[int]) -> Encoded:
        """These rows, in this order; a row may be taken several times. Nothing is encoded again."""
        ...

    def joined(self, others: Sequence[Any]) -> Encoded:
        """These rows, then those of the others, which the same model encoded and whose ``batch_key`` is the same."""
        ...

    def __len__(self) -> int:
        """Rows."""
        ...


@dataclass
class TokenLogProbs:
    """Log-probabilities of hypotheses, token by token.

    Attributes:
        values: [rows, tokens] float32 (float64 in a float64 model), natural logarithm; 0 where ``mask`` is False.
        mask: [rows, tokens] bool; True where there is a token. Families without tokens of their own in time (CTC) give
            one column, the log-probability of the whole hypothesis.
    """

    values: torch.Tensor
    mask: torch.Tensor


@runtime_checkable
class Samplable(Trainable, Protocol):
    """What reinforcement learning adds: audio is encoded once, hypotheses are drawn and scored from that."""

    def encode(self, batch: Batch) -> Encoded:
        """Audio and prompts of a collated batch; gradients flow through it where they are on."""
        ...

    def sample(self, encoded: Encoded, options: SamplingOptions) -> list[list[Hypothesis]]:
        """``options.num_samples`` hypotheses per row with their token ids and log-probabilities as drawn.

        Dropout is off while drawing, whatever mode the module is in. Token ids are those drawn, without the end token;
        log-probabilities have one more entry, the end token's, unless the hypothesis was truncated. (A family that is
        not ``tokenwise`` keeps one, the hypothesis's.) No loop guard is at work: what it would cut was drawn too.
        """
        ...

    def nbest(
        self, encoded: Encoded, beam_size: int, options: SamplingOptions, groups: BeamGroups = ONE_GROUP
    ) -> list[list[Hypothesis]]:
        """The best hypotheses per row that a search finds, by total log-probability, the best first.

        At most ``beam_size``, of different texts; of ``options`` only ``max_new_tokens`` plays a part. They carry no
        log-probabilities of their own: :meth:`log_prob` gives them. A family that is not ``tokenwise`` refuses more
        than one group: its search has no positions at which groups could avoid each other.
        """
        ...

    def log_prob(
        self, encoded: Encoded, hypotheses: Sequence[Hypothesis], options: SamplingOptions | Sequence[SamplingOptions]
    ) -> TokenLogProbs:
        """Log-probabilities of one hypothesis per row, by its token ids, under the distribution that is sampled from.

        ``options`` are those of all rows or, where the family is ``tokenwise``, may be one for each: a reference under
        the model's own distribution shares a pass with draws from a narrower one.

        The end token counts too, unless the hypothesis was truncated.
        Temperature, top-k and top-p are applied as in :meth:`sample`, so that what was drawn is what is scored; a token
        that they leave out is scored as if it alone were let in (see :mod:`asr_headroom.models.sampling`).
        The mode of the module is the caller's: with dropout on, dropout is in the scores.
        """
        ...
