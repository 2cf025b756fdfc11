"""Signals during a run."""

import signal

import pytest

from skclip.encode.bulk import interrupts as module
from skclip.encode.bulk.interrupts import Interrupts


@pytest.fixture
def handlers():
    """Ordinary handlers, whatever the process that runs the tests has set."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def interrupts(handlers):
    interrupts = Interrupts()
    with interrupts.installed():
        yield interrupts


SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@SIGNALS
def test_a_signal_has_its_effect_at_once(interrupts, number):
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


@SIGNALS
def test_a_deferred_signal_waits_for_the_check(interrupts, number):
    reached = []
    try:
        with interrupts.deferred():
            interrupts.check()
            signal.raise_signal(number)
            reached.append("after the signal")
            interrupts.check()
            reached.append("after the check")
    except KeyboardInterrupt:
        reached.append("interrupted")
    assert reached == ["after the signal", "interrupted"]


def test_a_deferred_signal_has_its_effect_at_the_end(interrupts):
    reached = []
    try:
        with interrupts.deferred():
            signal.raise_signal(signal.SIGINT)
            reached.append("after the signal")
    except KeyboardInterrupt:
        reached.append("interrupted")
    assert reached == ["after the signal", "interrupted"]


def test_a_second_signal_ends_the_process(interrupts, monkeypatch, capfd):
    now = [0.0]
    ended = []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.os, "_exit", ended.append)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    now[0] = 0.5  # a copy of the first signal, as the program `timeout` sends it
    signal.raise_signal(signal.SIGINT)
    assert not ended
    now[0] = 3
    signal.raise_signal(signal.SIGTERM)
    assert ended == [130]
    assert "rows of the last seconds may be lost" in capfd.readouterr().err


def test_other_handlers_are_left_alone(handlers):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup
    with Interrupts().installed():
        signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
