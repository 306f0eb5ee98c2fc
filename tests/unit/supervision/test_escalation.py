"""A part that cannot be kept running ends its process: with a sentence, and with an exit code that is not 0."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from placerank.supervision.escalation import Escalation, PartFailed

SLEEPER = """
import signal, sys, threading
from placerank.cli import main
from placerank.supervision.escalation import escalation
import placerank.cli.serve as serve
from placerank.config.settings import Settings

def api(*_, **__):
    with serve._process("relay"):
        {how}
        print("up", flush=True)
        signal.pause()
sys.argv = ["placerank"]
from placerank import cli
cli.cli.main = api
main()
"""


class Ends:
    def __init__(self) -> None:
        self.told = 0
        self.forced: list[int] = []
        self.was_forced = threading.Event()

    def tell(self) -> None:
        self.told += 1

    def force(self, code: int) -> None:
        self.forced.append(code)
        self.was_forced.set()


def test_the_first_failure_ends_the_process_and_is_raised() -> None:
    ends = Ends()
    escalation = Escalation(ends.tell, ends.force)

    def fail_twice() -> None:
        with escalation.armed():
            escalation.fail("first")
            escalation.fail("second")

    with pytest.raises(PartFailed, match=r"^first$"):
        fail_twice()
    assert (ends.told, ends.forced) == (1, [])


def test_it_replaces_the_exit_code_of_the_shutdown() -> None:
    escalation = Escalation(lambda: None)

    def fail_and_exit() -> None:
        with escalation.armed():
            escalation.fail("it failed")
            sys.exit(0)

    with pytest.raises(PartFailed, match="it failed"):
        fail_and_exit()


def test_without_a_failure_nothing_changes() -> None:
    ends = Ends()
    escalation = Escalation(ends.tell, ends.force)
    with pytest.raises(SystemExit), escalation.armed():
        sys.exit(0)
    with escalation.armed():
        pass
    assert ends.told == 0


def test_a_failure_before_the_process_is_ready_counts_too() -> None:
    ends = Ends()
    escalation = Escalation(ends.tell, ends.force)
    escalation.fail("early")
    with pytest.raises(PartFailed, match="early"), escalation.armed():
        assert ends.told == 1


def test_a_shutdown_that_hangs_is_cut_short(capsys: pytest.CaptureFixture[str]) -> None:
    ends = Ends()
    escalation = Escalation(ends.tell, ends.force)

    def hang() -> None:
        with escalation.armed(0.01):
            escalation.fail("it hangs.")
            assert ends.was_forced.wait(5)

    with pytest.raises(PartFailed):
        hang()
    assert ends.forced == [1]
    assert "it hangs." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))", 0, ""),
        (
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); escalation.fail('The part is gone.')",
            1,
            "placerank: The part is gone.",
        ),
    ],
)
def test_a_real_process(how: str, code: int, said: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER.format(how=how)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    if not said:
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=20)
    assert process.returncode == code, error
    assert said in error
    assert "Traceback" not in error
