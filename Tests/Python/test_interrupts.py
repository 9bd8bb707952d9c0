"""Ctrl-C, and other signals whose handlers raise, while C calls functions of Python: nothing of it is lost.

Each program runs in a process of its own and interrupts itself, again and again, at times of its own choice.
Most signals arrive while C computes, and so are delivered on the way into the next callback.
"""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ATTEMPTS = 12

# A program that a shell has put in the background, such as the tests themselves, leaves SIGINT ignored to its own.
BEGIN = f"""
import os, signal, sys, threading
import cabochon

signal.signal(signal.SIGINT, signal.default_int_handler)

model = cabochon.Model({str(ROOT / "Tests/Fixtures/gemma2-tiny")!r}, threads=1)
sae = cabochon.SAE({str(ROOT / "Tests/Fixtures/gemma2-tiny/expected/scope/resid_post_layer2.npz")!r}, "resid_post", 2)
guard = cabochon.Guard(model, template={{"prompt": "{{prompt}} {{policy}}", "response": "{{prompt}} {{response}} {{policy}}"}})
guarding = cabochon.Guarding(guard, "audit", interval=1, policies={{"kind": "Be kind."}}, on_check=lambda check: None)
session = model.session(context_length=1_000_000)
session.append([2, 5, 7])
endless = {{"max_tokens": 900_000, "ignore_eos": True, "seed": 11, "temperature": 3.0}}
"""

INTERRUPTED = f"""
for attempt in range({ATTEMPTS}):
    before, logits, hook = session.tokens, session.logits().tolist(), sys.unraisablehook
    timer = threading.Timer(0.05 + 0.003 * attempt, lambda: os.kill(os.getpid(), signal.SIGINT))
    try:
        timer.start()
        CALL
        print("lost")
    except KeyboardInterrupt:
        print("interrupted")
    timer.join()
    assert session.tokens == before and session.logits().tolist() == logits
    assert sys.unraisablehook is hook
"""

CALLS = {
    "on_text": 'session.generate("Once", on_text=lambda text: None, **endless)',
    "an answer that goes on": "session.generate((), on_text=lambda text: None, **endless)",
    "steered": 'session.generate((), on_text=lambda text: None, steer=[cabochon.Steer(sae, 3, 50.0)], **endless)',
    "logprobs": 'session.generate("Once", logprobs=2, **endless)',
    "on_features": 'session.generate("Once", watch=[sae.only([1])], on_features=lambda which, found: None, **endless)',
    "on_check": 'session.generate("Once", guard=guarding, **endless)',
    "rows": 'guard.classify_rows(["abc"] * 20_000)',
}


def run(program, *arguments):
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], env={**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python")},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_ctrl_c_ends_a_call_with_handlers_and_leaves_the_session_as_before(call):
    done = run(BEGIN + INTERRUPTED.replace("CALL", CALLS[call]))
    assert (done.stderr, done.stdout.split()) == ("", ["interrupted"] * ATTEMPTS)


def test_what_another_signals_handler_raises_comes_out_too():
    program = BEGIN + textwrap.dedent(f"""
        def late(number, frame):
            raise TimeoutError("too late")

        signal.signal(signal.SIGALRM, late)
        for attempt in range({ATTEMPTS}):
            signal.setitimer(signal.ITIMER_REAL, 0.05 + 0.003 * attempt)
            try:
                session.generate("Once", on_text=lambda text: None, **endless)
            except TimeoutError as error:
                print(error)
        """)
    done = run(program)
    assert (done.stderr, done.stdout) == ("", "too late\n" * ATTEMPTS)


def test_an_example_that_streams_ends_with_ctrl_c():
    program = ROOT / "Examples" / "python" / "stream.py"
    process = subprocess.Popen(
        [sys.executable, "-c", f"""
import cabochon, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
generate = cabochon.Session.generate
cabochon.Session.generate = lambda *given, **options: generate(*given, **{{**options, "max_tokens": 7000, "ignore_eos": True}})
sys.argv = ["stream.py", {str(ROOT / "Tests/Fixtures/gemma2-tiny")!r}, "Why?"]
runpy.run_path({str(program)!r}, run_name="__main__")
"""],
        env={**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python")}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT and errors.rstrip().endswith(b"KeyboardInterrupt")


def test_other_exceptions_that_nobody_can_raise_go_where_they_would():
    program = BEGIN + textwrap.dedent("""
        class Broken:
            def __del__(self):
                raise KeyError("not ours")

        session.generate("Once", max_tokens=3, ignore_eos=True, on_text=lambda text: Broken() and None)
        print(session.length)
        """)
    done = run(program)
    assert done.stderr.count("KeyError: 'not ours'") == 3 and done.returncode == 0 and int(done.stdout) > 3
