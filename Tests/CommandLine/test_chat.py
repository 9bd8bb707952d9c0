"""`cabochon chat`: as a person has it, at a pseudo-terminal, and line by line from a pipe."""

import json
import os
import pathlib
import signal
import subprocess

import pytest

from commandline import PROGRAM
from terminal import BACKSPACE, CONTROL_C, CONTROL_D, DOWN, LEFT, UP, Terminal

# A bias makes the small model say "and" (token 603) again and again: a word, and one that encodes to
# the same tokens again.
OPTIONS = ["--temperature", "0", "--max-tokens", "4", "--ignore-eos", "--backend", "scalar", "--logit-bias", "603:1000"]


@pytest.fixture
def open_chat(cabochon, tiny):
    """Opens chats at terminals; closes them at the end."""
    opened = []

    def open(*arguments, columns: int = 80) -> Terminal:
        command = [str(PROGRAM), "chat", "--model", str(tiny), *OPTIONS, *map(str, arguments)]
        terminal = Terminal(command, cabochon.environment, columns)
        opened.append(terminal)
        terminal.wait_for("Ctrl-D leaves")
        terminal.wait_for_prompt()
        return terminal

    yield open
    for terminal in opened:
        terminal.close()


def saved(terminal: Terminal, path: pathlib.Path) -> list[dict]:
    terminal.ask(f"/save {path}", r"Saved \d+ messages")
    return json.loads(path.read_text())


# --- at a terminal ---

def test_an_answer_follows_a_line_and_control_d_leaves(open_chat):
    chat = open_chat()
    chat.ask("Hello", r"decode \d+ tokens.*cut at --max-tokens")
    chat.type(CONTROL_D)
    assert chat.exit_status() == 0


def test_quit_leaves(open_chat):
    chat = open_chat()
    chat.type("/quit\r")
    assert chat.exit_status() == 0


def test_later_turns_read_only_what_is_new(open_chat, tmp_path):
    chat = open_chat()
    first = chat.ask("one", r"prompt (\d+) tokens")
    second = chat.ask("one", r"prompt (\d+) tokens")
    third = chat.ask("one", r"prompt (\d+) tokens")
    # The first has BOS, the others close the turn before; the conversation grows, the prompts do not.
    assert abs(int(second[1]) - int(first[1])) <= 4 and second[1] == third[1]
    roles = [message["role"] for message in saved(chat, tmp_path / "talk.json")]
    assert roles == ["user", "assistant"] * 3


def test_control_c_stops_the_answer_and_keeps_the_conversation(open_chat, tmp_path):
    chat = open_chat("--max-tokens", 1900)
    chat.type("Hi\r")
    chat.wait_for("andand")
    chat.type(CONTROL_C)
    chat.wait_for("stopped by Ctrl-C")
    chat.wait_for_prompt()
    messages = saved(chat, tmp_path / "talk.json")
    assert [message["role"] for message in messages] == ["user", "assistant"] and messages[1]["content"]
    assert chat.process.poll() is None
    # And it goes on from what was said.
    chat.type("Again\r")
    chat.wait_for("andand")
    chat.type(CONTROL_C)
    chat.wait_for("stopped by Ctrl-C")
    chat.wait_for_prompt()
    assert saved(chat, tmp_path / "talk.json")[:2] == messages


def test_control_c_at_the_prompt_gives_a_hint_and_stays(open_chat):
    chat = open_chat()
    chat.type("half a thought" + CONTROL_C)
    chat.wait_for("Ctrl-D or /quit leaves")
    chat.wait_for_prompt()
    assert chat.process.poll() is None


def test_reset_forgets_and_system_goes_with_the_next_message(open_chat, tmp_path):
    chat = open_chat("--system", "Be brief.")
    chat.ask("/system", "Be brief.")
    chat.ask("one", "decode")
    chat.ask("two", "decode")
    path = tmp_path / "talk.json"
    assert [m["role"] for m in saved(chat, path)] == ["system", "user", "assistant", "user", "assistant"]
    chat.ask("/reset", "empty")
    assert saved(chat, path) == []
    chat.ask("/system Answer in verse.", "next message")
    chat.ask("three", "decode")
    messages = saved(chat, path)
    assert messages[0] == {"role": "system", "content": "Answer in verse."} and messages[1]["content"] == "three"


def test_a_loaded_conversation_goes_on_as_if_it_had_never_stopped(open_chat, tmp_path):
    path, one, two = tmp_path / "talk.json", tmp_path / "one.json", tmp_path / "two.json"
    first = open_chat()
    began = first.ask("Hello", r"prompt (\d+) tokens")
    saved(first, path)
    went_on = first.ask("Go on", r"prompt (\d+) tokens")
    second = open_chat()
    second.ask(f"/load {path}", "Loaded 2 messages")
    read_again = second.ask("Go on", r"prompt (\d+) tokens")
    # All of it is read again: the first turn, the answer's four tokens, and the second turn.
    assert int(read_again[1]) == int(began[1]) + 4 + int(went_on[1])
    assert saved(first, one) == saved(second, two)


def test_mistakes_are_told_and_the_chat_goes_on(open_chat, tmp_path):
    chat = open_chat()
    chat.ask("/sing", "/sing is no command")
    chat.ask("/save", "needs a file name")
    chat.ask("/load /no/such/file", "/no/such/file: No such file")
    bad = tmp_path / "bad.json"
    bad.write_text('[{"role": "pope", "content": "x"}]')
    chat.ask(f"/load {bad}", "message 0 needs a role")
    chat.ask("/help", "/reset")
    chat.ask("Hello", "decode")


def test_a_message_that_does_not_fit_is_told_and_leaves_the_conversation(open_chat, tmp_path):
    chat = open_chat("--context", 40)
    chat.ask("Hi", "decode")
    before = saved(chat, tmp_path / "talk.json")
    chat.ask("word " * 12, r"context of 40")
    assert saved(chat, tmp_path / "talk.json") == before


# --- the line editor ---

def test_keys_edit_the_line(open_chat, tmp_path):
    chat = open_chat()
    chat.type("Hexlo" + LEFT + LEFT + BACKSPACE + "l" + "\x01" + "say " + "\x05" + " now" + "\r")
    chat.wait_for("decode")
    chat.wait_for_prompt()
    assert saved(chat, tmp_path / "talk.json")[0]["content"] == "say Hello now"


def test_wide_and_combined_characters_are_one_each(open_chat, tmp_path):
    chat = open_chat(columns=20)
    family = "\U0001F469\u200D\U0001F469\u200D\U0001F467"
    chat.type("東京" + family + "e\u0301x" + BACKSPACE + BACKSPACE + BACKSPACE + "é " + "大" * 12 + "\r")
    chat.wait_for("decode")
    chat.wait_for_prompt()
    assert saved(chat, tmp_path / "talk.json")[0]["content"] == "東京é " + "大" * 12


def test_a_pasted_text_of_several_lines_is_one_message(open_chat, tmp_path):
    chat = open_chat()
    chat.type("\x1b[200~first\rsecond\x1b[201~" + "\r")
    chat.wait_for("decode")
    chat.wait_for_prompt()
    assert saved(chat, tmp_path / "talk.json")[0]["content"] == "first\nsecond"


def test_pasted_bytes_that_are_no_text_are_left_out(open_chat, tmp_path):
    chat = open_chat()
    os.write(chat.screen, b"\x1b[200~b\xff\x1b[201~")
    chat.type("good\r")
    chat.wait_for("decode")
    chat.wait_for_prompt()
    assert saved(chat, tmp_path / "talk.json")[0]["content"] == "good"


def test_arrow_keys_bring_back_lines_of_this_run_and_of_the_one_before(open_chat, cabochon, tmp_path):
    chat = open_chat()
    chat.ask("alpha", "decode")
    chat.ask("beta", "decode")
    chat.type(UP + UP + DOWN + UP + " again\r")
    chat.wait_for("decode")
    chat.wait_for_prompt()
    assert saved(chat, tmp_path / "talk.json")[-2]["content"] == "alpha again"
    chat.type(CONTROL_D)
    chat.exit_status()
    later = open_chat()
    later.type(UP + UP + "\r")
    later.wait_for("decode")
    later.wait_for_prompt()
    assert saved(later, tmp_path / "talk.json")[0]["content"] == "alpha again"
    history = cabochon.home / ".local" / "state" / "cabochon" / "history"
    assert history.stat().st_mode & 0o777 == 0o600


# --- from a pipe ---

def test_each_line_of_a_pipe_is_one_turn_and_answers_alone_are_printed(cabochon, tiny):
    lines = cabochon.text("chat", "--model", tiny, *OPTIONS, "--json", input="one\n\ntwo\n").splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["role"] for answer in answers] == ["assistant"] * 2
    assert all(len(answer["tokens"]) == 4 and answer["finish_reason"] == "length" for answer in answers)
    plain = cabochon.text("chat", "--model", tiny, *OPTIONS, input="one\ntwo\n")
    assert plain == "".join(answer["content"].rstrip("\n") + "\n" for answer in answers)


def test_a_conversation_gives_the_tokens_of_the_whole_template_at_once(cabochon, tiny):
    lines = cabochon.text("chat", "--model", tiny, *OPTIONS, "--json", input="one\ntwo\n").splitlines()
    chat = [json.loads(line) for line in lines]
    turns = [("user", "one"), ("model", chat[0]["content"]), ("user", "two")]
    text = "".join(f"<start_of_turn>{role}\n{content}<end_of_turn>\n" for role, content in turns)
    whole = cabochon.json("tokenize", "--model", tiny, "--special", "--bos", input=text + "<start_of_turn>model\n")
    read = sum(answer["timings"]["prompt_tokens"] for answer in chat) + len(chat[0]["tokens"])
    assert read == len(whole["tokens"])


def test_control_c_in_a_pipe_ends_it_all_with_1(cabochon, tiny):
    command = [PROGRAM, "chat", "--model", tiny, *OPTIONS, "--max-tokens", "1900"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=cabochon.environment
    ) as process:
        process.stdin.write(b"one\ntwo\n")
        process.stdin.flush()
        assert os.read(process.stdout.fileno(), 100).startswith(b"and")
        process.send_signal(signal.SIGINT)
        output, words = process.communicate(timeout=60)
    assert process.returncode == 1
    assert words.count(b"stopped by Ctrl-C") == 1 and words.count(b"decode") == 1


def test_a_line_that_is_not_utf8_is_refused_and_not_repaired(cabochon, tiny):
    done = cabochon.run("chat", "--model", tiny, *OPTIONS, input=b"one\nb\xff\nthree\n")
    assert done.returncode == 1 and b"standard input, line 2: not UTF-8 text" in done.stderr
    assert done.stdout.count(b"\n") == 1


def test_lines_may_end_as_on_windows(cabochon, tiny):
    arguments = ["chat", "--model", tiny, *OPTIONS, "--json"]
    plain, other = (json.loads(cabochon.text(*arguments, input=text)) for text in ("one\n", "one\r\n"))
    assert plain["timings"]["prompt_tokens"] == other["timings"]["prompt_tokens"]


def test_a_saved_conversation_may_begin_with_a_byte_order_mark(cabochon, tiny, tmp_path):
    path = tmp_path / "talk.json"
    path.write_text('\ufeff[{"role": "user", "content": "a"}, {"role": "model", "content": "b"}]')
    done = cabochon.run("chat", "--model", tiny, input=f"/load {path}\n")
    assert done.returncode == 0 and b"Loaded 2 messages" in done.stderr


def test_a_failing_command_in_a_pipe_ends_with_1(cabochon, tiny):
    assert "/no/such/file" in cabochon.failure("chat", "--model", tiny, input="/load /no/such/file\n")
