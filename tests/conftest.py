"""Fixtures of all tests: one torch thread, no network, the shared recordings where there are any."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("OMP_NUM_THREADS", "1")

_SHARED = Path(os.environ.get("ASR_HEADROOM_SHARED", Path(__file__).parent.parent.parent / "shared"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = {
        "slow": None if config.getoption("--slow") else "takes minutes; run with --slow",
        "shared": None if (_SHARED / "speech").is_dir() else f"no recordings in {_SHARED}; set ASR_HEADROOM_SHARED",
        "gpu": None if _has_gpu(items) else "no CUDA device",
        "hub": "needs the Hugging Face hub",
    }
    for item in items:
        for mark, reason in reasons.items():
            if reason and mark in item.keywords:
                item.add_marker(pytest.mark.skip(reason=reason))


def _has_gpu(items: list[pytest.Item]) -> bool:
    if not any("gpu" in item.keywords for item in items):
        return False
    import torch

    return torch.cuda.is_available()


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command run inside a test sets levels and handlers for its process; the next test starts without."""
    loggers = [logging.getLogger(name) for name in (None, "asr_headroom", "huggingface_hub")]
    before = [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers]
    yield
    for logger, (level, handlers, propagate) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers, logger.propagate = handlers, propagate


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real recordings, weights and predictions; only for tests marked ``shared``."""
    return _SHARED
