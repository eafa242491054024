"""Signals become requests, and nothing of them stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from asr_headroom.stopping import StopRequests


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_a_request(number, code, caplog):
    before = signal.getsignal(number)
    with StopRequests() as stops:
        assert not stops.requested
        os.kill(os.getpid(), number)
        assert stops.requested
        error = stops.stopped("stopped after 1 of 2")
    assert signal.getsignal(number) is before
    assert (str(error), error.exit_code) == ("stopped after 1 of 2", code)
    assert "stopping at the next safe point; once more stops at once" in caplog.text


def test_the_second_signal_acts_at_once():
    before = signal.getsignal(signal.SIGTERM)
    reached = []

    def interrupted_twice():
        with StopRequests() as stops:
            os.kill(os.getpid(), signal.SIGTERM)
            reached.append(stops.requested)
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("after the second")

    with pytest.raises(KeyboardInterrupt):
        interrupted_twice()
    assert reached == [True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_sigterm_ends_the_process():
    code = (
        "import os, signal\n"
        "from asr_headroom.stopping import StopRequests\n"
        "with StopRequests():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('requested', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('still here', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "requested\n")


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequests() as stops:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stops.requested
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_handlers_are_back_after_an_error():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ValueError, match="broken"), StopRequests():
        raise ValueError("broken")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_is_left_alone():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work():
        with StopRequests() as stops:
            seen.append((stops.requested, signal.getsignal(signal.SIGTERM) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, True)]
