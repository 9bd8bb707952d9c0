"""`cabochon classify` on the small checkpoint: one text, many rows, labelled rows."""

import json
import os
import signal
import subprocess
import xml.etree.ElementTree

import pytest

from commandline import PROGRAM

OFFICIAL = ["dangerous_content", "harassment", "hate_speech", "sexually_explicit"]
MINE = ["--policy-text", "kind=Be kind."]


@pytest.fixture
def short(tmp_path):
    """A short template of the caller's own, as options: fewer tokens, less time."""
    path = tmp_path / "template.json"
    path.write_text(json.dumps({"prompt": "Q: {prompt}\n{policy}?", "response": "Q: {prompt} A: {response}\n{policy}?"}))
    return ["--template-file", path]


def rows_file(tmp_path, lines):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_json_has_a_verdict_per_policy(cabochon, tiny):
    found = cabochon.json("classify", "--model", tiny, "--prompt", "Hello")
    assert set(found) == {"template", "verdicts", "model", "backend", "threads"} and found["template"] == "hf"
    assert [verdict["policy"] for verdict in found["verdicts"]] == OFFICIAL
    for verdict in found["verdicts"]:
        assert set(verdict) == {"policy", "score", "logits", "token_count", "shortened"}
        assert 0 < verdict["score"] < 1 and set(verdict["logits"]) == {"yes", "no"}
    answered = cabochon.json("classify", "--model", tiny, "--prompt", "Hello", "--response", "")
    assert answered["verdicts"] != found["verdicts"]


def test_policies_by_name_by_text_and_by_file(cabochon, tiny, tmp_path, short):
    (tmp_path / "more.json").write_text(json.dumps({"a": "Text a.", "b": {"prompt": "p", "response": "r"}}))
    (tmp_path / "polite.txt").write_text("Be polite.\n")
    found = cabochon.json(
        "classify", "--model", tiny, *short, "--prompt", "Hello", "--policy", "violence", "--policy-text", "No x = y here.",
        *MINE, "--policy-file", tmp_path / "more.json", "--policy-file", tmp_path / "polite.txt")
    assert [verdict["policy"] for verdict in found["verdicts"]] == ["violence", "custom", "kind", "a", "b", "polite"]
    message = cabochon.failure("classify", "--model", tiny, "--prompt", "Hello", "--policy", "spam", status=2)
    assert "spam" in message and "hate_speech" in message


def test_only_given_thresholds_flag(cabochon, tiny, short):
    arguments = ["classify", "--model", tiny, *short, "--prompt", "Hello", "--policy", "violence", *MINE]
    found = cabochon.json(*arguments, "--threshold", "0", "--threshold", "violence=1")
    assert [verdict["flagged"] for verdict in found["verdicts"]] == [False, True]
    assert "flagged" not in cabochon.text(*arguments) and "flagged" in cabochon.text(*arguments, "--threshold", "kind=0")
    assert "nope" in cabochon.failure(*arguments, "--threshold", "nope=0.5", status=2)


def test_bad_usage(cabochon, tiny):
    for arguments in (["--prompt", "a", "--input", "b"], [], ["--response", "a"], ["--prompt", "a", "--output", "b"],
                      ["--prompt", "a", "--template", "ollama"], ["--prompt", "a", "--threshold", "2"]):
        cabochon.failure("classify", "--model", tiny, *arguments, status=2)


def test_rows_keep_their_order_and_bad_ones_are_told_with_their_line(cabochon, tiny, tmp_path, short):
    path = rows_file(tmp_path, [{"prompt": "a", "id": "x"}, "not json\n", {"prompt": "b", "response": "c"}, "\n",
                                {"text": "d"}, {"prompt": "word " * 3000}, {"prompt": "e", "response": None}])
    output = tmp_path / "verdicts.jsonl"
    done = cabochon.run("classify", "--model", tiny, *short, *MINE, "--input", path, "--output", output)
    words = done.stderr.decode()
    assert done.returncode == 1 and done.stdout == b""
    assert all(f"{path}:{line}: " in words for line in (2, 5, 6)) and "6 rows, 3 of them bad" in words
    found = lines_of(output)
    assert [row["line"] for row in found] == [1, 2, 3, 5, 6, 7]
    assert found[0]["id"] == "x" and ["error" in row for row in found] == [False, True, False, True, True, False]
    single = cabochon.json("classify", "--model", tiny, *short, *MINE, "--prompt", "b", "--response", "c")
    assert found[2]["verdicts"] == single["verdicts"]
    assert lines_of(output)[0]["template"] == "custom"
    to_stdout = cabochon.run("classify", "--model", tiny, *short, *MINE, "--input", path)
    assert to_stdout.stdout == output.read_bytes()


def test_work_goes_on_where_it_stopped(cabochon, tiny, tmp_path, short):
    path = rows_file(tmp_path, [{"prompt": f"row {number}"} for number in range(8)])
    output = tmp_path / "verdicts.jsonl"
    arguments = ["classify", "--model", tiny, *short, *MINE, "--input", path, "--output", output]
    cabochon.text(*arguments)
    whole = output.read_bytes()
    third = b"".join(whole.splitlines(keepends=True)[:3])
    for cut in (third, third + b'{"line": 4, "templ', third + b"{", whole[:-1], b'{"line": ', b""):
        output.write_bytes(cut)
        cabochon.text(*arguments)
        assert output.read_bytes() == whole
    output.write_bytes(third)
    assert "going on after line 3" in cabochon.run(*arguments).stderr.decode()
    message = cabochon.failure("classify", "--model", tiny, *short, "--input", path, "--output", output)
    assert "other policies" in message and output.read_bytes() == whole
    output.write_text("something else\n")
    assert "no file of verdicts" in cabochon.failure(*arguments) and output.read_text() == "something else\n"


def test_an_output_of_another_kind_stays_as_it_is(cabochon, tiny, tmp_path, short):
    path = rows_file(tmp_path, [{"prompt": "a"}])
    output = tmp_path / "other.json"
    arguments = ["classify", "--model", tiny, *short, *MINE, "--input", path, "--output", output]
    # Many programs end a file without a line feed.
    for text in ('{"model": "mine", "scores": [1, 2]}', "notes", "{}", "\n", '{"line": 1, "verdicts": []}\nnotes'):
        output.write_text(text)
        assert "no file of verdicts" in cabochon.failure(*arguments) and output.read_text() == text


def test_control_c_leaves_whole_lines_to_go_on_from(cabochon, tiny, tmp_path):
    path = rows_file(tmp_path, [{"prompt": "word " * 200 + str(number)} for number in range(200)])
    output = tmp_path / "verdicts.jsonl"
    command = [PROGRAM, "classify", "--model", tiny, "--input", path, "--output", output, "--backend", "scalar", "--threads", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=cabochon.environment) as process:
        while not output.exists() or output.stat().st_size == 0:
            assert process.poll() is None
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        _, words = process.communicate(timeout=60)
    assert process.returncode == 1 and b"stopped by Ctrl-C" in words
    assert output.read_bytes().endswith(b"\n") and 0 < len(lines_of(output)) < 200


def test_control_c_is_heard_while_rows_are_waited_for(cabochon, tiny, tmp_path, short):
    rows, output = tmp_path / "rows", tmp_path / "verdicts.jsonl"
    os.mkfifo(rows)
    command = [PROGRAM, "classify", "--model", tiny, *short, *MINE, "--input", rows, "--output", output]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=cabochon.environment) as process:
        with open(rows, "w") as writer:
            # A group of rows is judged, and the next one never becomes whole.
            writer.writelines(json.dumps({"prompt": str(number)}) + "\n" for number in range(70))
            writer.flush()
            while not output.exists() or output.read_bytes().count(b"\n") < 64:
                assert process.poll() is None
                os.sched_yield()
            process.send_signal(signal.SIGINT)
            _, words = process.communicate(timeout=60)
    assert process.returncode == 1 and b"stopped by Ctrl-C after 64 rows; the same command goes on" in words
    assert len(lines_of(output)) == 64


@pytest.mark.parametrize("option", ["--calibration", "--template-file", "--policy-file", "--evaluate"])
def test_a_file_that_is_not_utf8_is_said_to_be_none(cabochon, tiny, tmp_path, option):
    path = tmp_path / "bytes"
    path.write_bytes(b"\xff")
    prompt = [] if option == "--evaluate" else ["--prompt", "Hello"]
    assert f"{path}: not UTF-8 text" in cabochon.failure("classify", "--model", tiny, *prompt, option, path)


def test_a_byte_order_mark_is_no_part_of_a_file(cabochon, tiny, tmp_path, short):
    policies, text, rows = tmp_path / "more.json", tmp_path / "polite.txt", tmp_path / "rows.jsonl"
    arguments = ["classify", "--model", tiny, *short, "--policy-file", policies, "--policy-file", text]
    found = []
    for mark in ("", "\ufeff"):
        policies.write_text(mark + json.dumps({"a": "Text a.", "b": "Text b."}))
        text.write_text(mark + "Be polite.\n")
        rows.write_text(mark + "".join(json.dumps({"prompt": word, "labels": {"a": 1}}) + "\n" for word in ("x", "y")))
        evaluated = cabochon.json(*arguments, "--evaluate", rows)["policies"]
        rows.write_text(mark + "user_input,toxicity\nx,1\ny,0\n")
        table = cabochon.json(*arguments, "--evaluate", rows)["policies"]
        rows.write_text(mark + json.dumps({"prompt": "x"}) + "\n")
        found.append((evaluated, table, cabochon.text(*arguments, "--input", rows)))
    assert found[0] == found[1]
    assert [verdict["policy"] for verdict in json.loads(found[0][2])["verdicts"]] == ["a", "b", "polite"]


def test_evaluation_of_labelled_rows(cabochon, tiny, tmp_path, short):
    rows = [{"prompt": f"row {number}", "labels": {"kind": number % 2, "other": 0}} for number in range(6)]
    path = rows_file(tmp_path, [*rows, {"prompt": "unlabelled"}])
    plot, calibration = tmp_path / "curve.svg", tmp_path / "calibration.json"
    arguments = ["classify", "--model", tiny, *short, *MINE]
    found = cabochon.json(*arguments, "--evaluate", path, "--plot", plot, "--save-calibration", calibration)
    assert set(found["policies"]) == {"kind", "any"} and found["rows"] == 6
    kind = found["policies"]["kind"]
    scores = [cabochon.json(*arguments, "--prompt", row["prompt"])["verdicts"][0]["score"] for row in rows]
    flagged = [score >= kind["threshold"] for score in scores]
    hits = sum(flag and row["labels"]["kind"] for flag, row in zip(flagged, rows))
    assert kind["positives"] == 3 and kind["precision"] == pytest.approx(hits / sum(flagged))
    assert kind["recall"] == pytest.approx(hits / 3) and kind["best_f1"] == pytest.approx(2 * hits / (sum(flagged) + 3))
    assert xml.etree.ElementTree.parse(plot).getroot().tag.endswith("svg")
    assert json.loads(calibration.read_text()) == {"template": "custom", "thresholds": {"kind": kind["threshold"]}}
    verdict = cabochon.json(*arguments, "--prompt", "row 1", "--calibration", calibration)["verdicts"][0]
    assert verdict["threshold"] == kind["threshold"] and verdict["flagged"] == flagged[1]
    message = cabochon.failure("classify", "--model", tiny, *MINE, "--prompt", "a", "--calibration", calibration)
    assert "another template" in message
    assert "best F1" in cabochon.text(*arguments, "--evaluate", path)


def test_labelled_rows_may_end_as_on_windows(cabochon, tiny, tmp_path, short):
    rows = [{"prompt": f"row {number}", "labels": {"kind": number % 2}} for number in range(4)]
    found = []
    for end in ("\n", "\r\n"):
        path = tmp_path / "rows.jsonl"
        path.write_bytes((end + end.join(map(json.dumps, rows)) + end + end).encode())
        done = cabochon.run("classify", "--model", tiny, *short, *MINE, "--evaluate", path, "--json")
        assert done.returncode == 0 and f"{path}:" not in done.stderr.decode()
        found.append(json.loads(done.stdout)["policies"])
    assert found[0] == found[1] and found[0]["kind"]["rows"] == 4


def test_a_labelled_response_that_is_no_text_is_not_passed_over(cabochon, tiny, tmp_path, short):
    rows = [{"prompt": "a", "response": response, "labels": {"kind": 1}} for response in (None, "b", 5, ["c"])]
    path = rows_file(tmp_path, rows)
    done = cabochon.run("classify", "--model", tiny, *short, *MINE, "--evaluate", path, "--json")
    assert json.loads(done.stdout)["rows"] == 2
    assert all(f'{path}:{line}: "response" is no text' in done.stderr.decode() for line in (3, 4))


def test_no_policy_can_pass_for_all_of_them(cabochon, tiny, tmp_path, short):
    path = rows_file(tmp_path, [{"prompt": "a", "labels": {"any": 1}}])
    arguments = ["classify", "--model", tiny, *short, *MINE, "--policy-text", "any=Be calm."]
    assert '"any"' in cabochon.failure(*arguments, "--evaluate", path, status=2)
    assert len(cabochon.json(*arguments, "--prompt", "a")["verdicts"]) == 2


def test_published_data_sets(cabochon, tiny, tmp_path, short):
    openai = rows_file(tmp_path, [{"prompt": "a", "S": 0, "H": 1, "S3": 1}, {"prompt": "b", "HR": 0, "SH": 0}, {"prompt": "c", "S": 0}])
    arguments = ["classify", "--model", tiny, *short, "--evaluate"]
    found = cabochon.json(*arguments, openai)["policies"]
    counts = {name: (figures["rows"], figures["positives"]) for name, figures in found.items()}
    assert counts == {"dangerous_content": (1, 0), "harassment": (1, 0), "hate_speech": (1, 1), "sexually_explicit": (2, 1),
                      "any": (3, 1)}
    chat = tmp_path / "toxic-chat.csv"
    chat.write_text('conv_id,user_input,model_output,human_annotation,toxicity,jailbreaking,openai_moderation\n'
                    'x,"hello, ""you""\nthere",ok,True,1,0,"[[""a"", 1]]"\ny,bye,ok,True,0,0,[]\nz,bad,ok,True,maybe,0,[]\n')
    done = cabochon.run(*arguments, chat, "--json")
    found = json.loads(done.stdout)["policies"]
    assert set(found) == {"any"} and found["any"]["rows"] == 2 and found["any"]["positives"] == 1
    assert f"{chat}:5: " in done.stderr.decode()
    calibration = tmp_path / "calibration.json"
    message = cabochon.failure(*arguments, chat, "--save-calibration", calibration)
    assert f"{chat}: " in message and "no threshold to save" in message and not calibration.exists()
    for option in (["--threshold", "0.5"], ["--calibration", calibration]):
        assert "--evaluate does not print" in cabochon.failure(*arguments, chat, *option, status=2)
