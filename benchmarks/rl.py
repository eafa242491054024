"""What a whole RL step costs against the study's algorithm on the same weights: CPU seconds, and peak memory.

The study's trainer, written out with the library's own calls: for every hypothesis the audio is encoded to draw it and
encoded again to score it, logits are made of all positions in float32, and the reference is a forward pass of its own:
2N + 1 encodings per utterance. Here: one. Both draw N hypotheses of --tokens tokens (random weights do not end), learn
by MWER with a cross-entropy of 0.01 on low-rank updates, and take an AdamW step. Collapsing and skipping are off, so
that both score the same number of hypotheses. Each is measured over windows of 30 s (Whisper's; for Qwen3-ASR silence
fills the clips up) and, where it can, over the clips as long as they are. Runs alternate; medians of the one thread's
CPU seconds are printed, which a core shared with other work lengthens less than the clock.

    python benchmarks/rl.py --family whisper --rollouts 4 8 --repeats 5
    python benchmarks/rl.py --family qwen3-asr --rollouts 4 8 --repeats 5
    python benchmarks/rl.py --family whisper --rollouts 8 --memory
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import soundfile
import torch
from accelerate import Accelerator
from transformers import GenerationMixin

from asr_headroom.models.lora import LoraConfig, attach_lora
from asr_headroom.models.qwen3_asr import Qwen3Asr
from asr_headroom.rl.config import RlConfig
from asr_headroom.rl.mwer import mwer_loss
from asr_headroom.rl.objective import PolicyObjective
from asr_headroom.rl.reward import Reward
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_qwen3_asr, tiny_whisper
from asr_headroom.text.normalize import normalizer_for_language
from asr_headroom.train.feed import StepBatches
from asr_headroom.train.memory import peak_memory_now, resident_memory_now

VOCABULARY = {"whisper": 51_865, "qwen3-asr": 151_936}
SECONDS = (3.0, 8.0, 4.5, 6.0)
WINDOW_SECONDS = 30
SIDES = {
    "whisper": ("study", "here", "here, fitted"),
    "qwen3-asr": ("study", "here", "study, fitted", "here, fitted"),
}


def make_model(family, window):
    """whisper-tiny's size, or a small Qwen3-ASR; real vocabularies, random weights, low-rank updates."""
    if family == "whisper":
        model = tiny_whisper(window=window, window_seconds=30, width=384, layers=4, max_target_positions=448)
    else:
        model = tiny_qwen3_asr(width=256, layers=4)
        model.module.config.text_config.max_position_embeddings = 1024  # room for a window of 30 s
        model = Qwen3Asr(model.module, model.processor, model_id="small-qwen3-asr")
    core = model.module
    core.resize_token_embeddings(VOCABULARY[family])
    core.config.vocab_size = VOCABULARY[family]
    core.generation_config.eos_token_id = None if family == "qwen3-asr" else core.generation_config.eos_token_id
    return attach_lora(model, LoraConfig(rank=32, dropout=0.0), seed=0)


def speech(count, *, filled):
    """Clips of 3 to 8 s; filled up with silence to the whole window, where asked."""
    letters = [round(seconds / 0.25) for seconds in SECONDS[:count]]
    clips = [tone_utterance(("abcdefgh" * 8)[:length], id=str(length)) for length in letters]
    return [fill(clip) for clip in clips] if filled else clips


def fill(clip):
    samples = clip.samples(16_000)
    file = io.BytesIO()
    soundfile.write(file, np.pad(samples, (0, WINDOW_SECONDS * 16_000 - len(samples))), 16_000, format="WAV")
    return dataclasses.replace(clip, audio=file.getvalue(), duration=None, start=0.0)


def audio_inputs(model, family, utterance):
    """The library's own inputs of one utterance: features and prompt ids."""
    samples = utterance.samples(16_000)
    if family == "whisper":
        features = model.processor.feature_extractor(samples, sampling_rate=16_000, return_tensors="pt")
        return dict(features), torch.tensor([model.prompt_ids(utterance.language)])
    request = model.processor.apply_transcription_request([samples], language="English", sampling_rate=16_000)
    prompt = request.pop("input_ids")
    request.pop("attention_mask")
    return dict(request), prompt


class Study:
    """The study's step."""

    def __init__(self, model, family, config):
        self.model, self.family, self.config = model, family, config
        self.core = model.module.get_base_model()
        self.reward = Reward(config.reward, normalizer_for_language)

    def accumulate(self, utterances):
        for utterance in utterances:
            features, prompt = audio_inputs(self.model, self.family, utterance)
            count = self.config.num_rollouts
            many = {name: tensor.repeat_interleave(count, dim=0) for name, tensor in features.items()}
            drawn = self.draw(many, prompt.expand(count, -1))
            texts = [self.model._text(row) for row in drawn.tolist()]
            judged = self.reward.judge(utterance, [Text(text) for text in texts])
            log_probs = self.score(many, prompt.expand(count, -1), drawn)
            errors = torch.tensor([[-row.reward for row in judged]])
            loss = mwer_loss(log_probs.sum(-1)[None], errors, torch.ones_like(errors)).sum()
            batch = self.model.collate([utterance])
            labels = batch.inputs["labels"]
            target = labels[labels != -100][None]
            nats = -self.score(features, prompt, target).mean()
            ((loss + self.config.cross_entropy * nats) / len(utterances)).backward()

    @torch.no_grad()
    def draw(self, features, prompt):
        options = {"do_sample": True, "temperature": self.config.temperature, "top_p": self.config.top_p, "top_k": 0,
                   "max_new_tokens": self.config.max_new_tokens, "eos_token_id": None, "pad_token_id": 0}  # fmt: skip
        self.model.module.eval()
        if self.family == "whisper":
            found = GenerationMixin.generate(
                self.core, **features, decoder_input_ids=prompt, **options,
                max_length=None, suppress_tokens=None, begin_suppress_tokens=None,
            )  # fmt: skip
        else:
            # Random weights would draw the audio's own token, and the library count it as audio.
            banned = {"suppress_tokens": [self.core.config.audio_token_id]}
            mask = torch.ones_like(prompt)
            found = self.core.generate(input_ids=prompt, attention_mask=mask, **features, **options, **banned)
        return found[:, prompt.shape[1] :]

    def score(self, features, prompt, tokens):
        ids = torch.cat([prompt, tokens], dim=1)
        name = "decoder_input_ids" if self.family == "whisper" else "input_ids"
        logits = self.core(**features, **{name: ids}).logits.float() / self.config.temperature
        log_probs = logits.log_softmax(-1)[:, prompt.shape[1] - 1 : -1]
        return log_probs.gather(-1, tokens[..., None]).squeeze(-1)


@dataclasses.dataclass(frozen=True)
class Text:
    """What a reward reads of a hypothesis."""

    text: str
    truncated: bool = True


class Ours:
    """Our step."""

    def __init__(self, model, family, config):
        reward = Reward(config.reward, normalizer_for_language)
        self.model, self.objective = model, PolicyObjective(model, Accelerator(), config, reward, seed=1)
        self.number = 0

    def accumulate(self, utterances):
        groups = {}
        for utterance in utterances:
            groups.setdefault(self.model.batch_key(utterance), []).append(utterance)
        parts = list(groups.values())
        batches = [self.model.collate(part) for part in parts]
        self.objective.accumulate(StepBatches(self.number, batches, parts, 1))
        self.number += 1


def timed(step, model, utterances):
    optimizer = torch.optim.AdamW([p for p in model.module.parameters() if p.requires_grad], lr=0.0)
    start = time.process_time()
    step.accumulate(utterances)
    optimizer.step()
    optimizer.zero_grad()
    return time.process_time() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=VOCABULARY, default="whisper")
    parser.add_argument("--rollouts", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--utterances", type=int, default=4)
    parser.add_argument("--memory", action="store_true", help="peak memory of each, in processes of their own")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = SIDES[arguments.family]
    for rollouts in arguments.rollouts:
        config = RlConfig(
            algorithm="mwer", num_rollouts=rollouts, temperature=0.9, top_p=0.95, max_new_tokens=arguments.tokens,
            cross_entropy=0.01, collapse=False, skip_equal_rewards=False,
        )  # fmt: skip

        def make(name, config=config):
            model = make_model(arguments.family, "fit" if "fitted" in name else "full")
            filled = arguments.family == "qwen3-asr" and "fitted" not in name
            utterances = speech(arguments.utterances, filled=filled)
            return model, (Study if "study" in name else Ours)(model, arguments.family, config), utterances

        if arguments.only:
            model, step, utterances = make(arguments.only)
            # Making the model took more than it takes; the peak is counted from here.
            Path("/proc/self/clear_refs").write_text("5")
            before = resident_memory_now()
            timed(step, model, utterances)
            print((peak_memory_now() - before) / 1e6)
            continue
        if arguments.memory:
            sizes = {}
            for name in names:
                command = [sys.executable, *sys.argv, "--only", name, "--rollouts", str(rollouts)]
                sizes[name] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            print(f"{arguments.family}, N = {rollouts}: peak above the loaded model")
            for name, size in sizes.items():
                print(f"  {name:<22} {size:8.0f} MB  {size / sizes['study']:.2f} of the study's")
            continue
        warnings.simplefilter("ignore")
        made = {name: make(name) for name in names}
        seconds = {name: [] for name in names}
        for repeat in range(arguments.repeats + 1):
            for name, (model, step, utterances) in made.items():
                taken = timed(step, model, utterances)
                if repeat:  # the first warms up
                    seconds[name].append(taken)
        print(f"{arguments.family}, N = {rollouts}, {arguments.utterances} clips, {arguments.tokens} tokens: medians")
        base = statistics.median(seconds["study"])
        for name in names:
            median = statistics.median(seconds[name])
            spread = f"{min(seconds[name]):.2f} to {max(seconds[name]):.2f}"
            print(f"  {name:<22} {median:7.2f} s ({spread})  {base / median:5.2f} times as fast", flush=True)


if __name__ == "__main__":
    main()
