"""Processes of their own for tests that kill them, or that need two."""

from __future__ import annotations

import multiprocessing

import pytest


@pytest.fixture(scope="session")
def processes():
    """Children of a server that has the heavy imports behind it, once for all of them."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system has no forkserver, and SIGKILL is its business")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["asr_headroom.rl.objective", "asr_headroom.models.whisper", "peft"])
    return context
