"""Precision and devices: float64 from end to end, autocast, and tensors that lie where they should."""

from __future__ import annotations

import pytest
import torch

from asr_headroom.models.decoding import SamplingOptions
from asr_headroom.models.protocols import Samplable, Trainable
from asr_headroom.testing.conformance.base import FamilyChecks
from asr_headroom.testing.devices import PretendGpu

__all__ = ["PrecisionChecks"]

_STEPS = (1e-4, 1e-7)
"""A small one for encoders that bend sharply, a large one where a library rounds to float32 inside (norms of LLMs)."""
_OPTIONS = SamplingOptions(num_samples=2, temperature=0.9, top_k=8, top_p=0.9, max_new_tokens=4)


class PrecisionChecks(FamilyChecks):
    """What holds in every precision and on every device."""

    def test_gradients_are_those_of_finite_differences(self, model: Trainable) -> None:
        """In float64, along one direction in the space of all weights: of the loss and of ``log_prob``."""
        exact = model.with_module(lambda module: module.double())
        batch = exact.collate(self.speech(self.texts[0]))
        weights = [parameter for parameter in exact.module.parameters() if parameter.requires_grad]
        generator = torch.Generator().manual_seed(0)
        direction = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in weights]

        def moved(step: float) -> float:
            with torch.no_grad():
                for weight, towards in zip(weights, direction, strict=True):
                    weight.add_(towards, alpha=step)
                nats = exact.loss(batch).nats.item()
                for weight, towards in zip(weights, direction, strict=True):
                    weight.sub_(towards, alpha=step)
                return nats

        loss = exact.loss(batch).nats
        assert loss.dtype == torch.float64
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        slope = sum((g * d).sum().item() for g, d in zip(found, direction, strict=True) if g is not None)
        differences = [(moved(step) - moved(-step)) / (2 * step) for step in _STEPS]
        assert min(abs(difference - slope) for difference in differences) <= 1e-3 * abs(slope)
        if not isinstance(exact, Samplable):
            return
        scores = exact.log_prob(exact.encode(batch), [self.target(exact, batch, 0)], SamplingOptions()).values
        assert scores.dtype == torch.float64
        again = torch.autograd.grad(-scores.sum(), weights, allow_unused=True)
        for one, other in zip(again, found, strict=True):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)

    def test_autocast_leaves_features_and_scores_alone(self, model: Trainable) -> None:
        """Features are those of full precision; log-probabilities are float32; what is drawn is what is scored."""
        speech = self.groups(model, self.speech())[0]
        plain = model.collate(speech)
        texts = [hypothesis.text for hypothesis in model.transcribe(speech, self.options())]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            batch = model.collate(speech)
            for name, tensor in plain.inputs.items():
                assert torch.equal(tensor, batch.inputs[name]), f"{name} differs under autocast"
            assert len(model.transcribe(speech, self.options())) == len(texts)
            assert model.loss(batch).nats.dtype == torch.float32
            if not isinstance(model, Samplable):
                return
            with torch.no_grad():
                encoded = model.encode(batch)
                rows = model.sample(encoded, _OPTIONS)
                indices = [index for index, row in enumerate(rows) for _ in row]
                drawn = [hypothesis for row in rows for hypothesis in row]
                scores = model.log_prob(encoded.select(indices), drawn, _OPTIONS)
        assert scores.values.dtype == torch.float32
        for hypothesis, values, mask in zip(drawn, scores.values, scores.mask, strict=True):
            stored = torch.tensor(hypothesis.token_log_probs)
            assert values[mask].sum().item() == pytest.approx(stored.sum().item(), abs=0.3)

    def test_everything_runs_where_the_weights_are(self, model: Trainable) -> None:
        """On a pretended GPU, on which an operation refuses tensors that were left on the CPU."""
        speech = self.groups(model, self.speech())[0]
        batch = model.collate(speech)
        with PretendGpu() as gpu:
            gpu.place(model.module)
            moved = batch.to("cuda")
            assert gpu.holds(model.loss(moved).nats)
            model.transcribe(speech, self.options())
            if model.card.abilities.beam_search:
                model.transcribe(speech, self.options(beam_size=2))
            if not isinstance(model, Samplable):
                return
            encoded = model.encode(moved)
            hypotheses = [self.target(model, batch, row) for row in range(len(speech))]
            assert gpu.holds(model.log_prob(encoded, hypotheses, SamplingOptions()).values)
            if model.card.abilities.can_sample:
                drawn = [row[0] for row in model.sample(encoded, _OPTIONS)]
                assert gpu.holds(model.log_prob(encoded, drawn, _OPTIONS).values)
            if model.card.abilities.can_nbest:
                model.nbest(encoded, 2, _OPTIONS)
