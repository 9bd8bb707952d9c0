#!/usr/bin/env python3
"""What a guard costs: four policies against one, the same against other programs, and a guarded answer.

    python Benchmarks/shield.py MODEL.gguf [--llama-python PYTHON] [--torch-python PYTHON] [--rows 64]
        [--template hf|paper] [--json]

1. Rows of 60 to 400 tokens, each with one policy and with all four: classify_rows with --template. The rows
   are taken in parts, with another policy alone in each part.
2. After each part, other programs run some of its rows (--peer-rows of all, the rest of their time is
   scaled by tokens): each prompt x policy by itself, Yes and No read off the last position. PYTHON is an
   interpreter that has llama-cpp-python, or torch, transformers and gguf (random weights in bf16).
3. An answer of 400 tokens, greedy, checked every 16 by the same model, with --answer-templates and
   --answer-policies. Checks run beside the answer, so that what they cost is how much longer the whole call
   takes: (guarded seconds - unguarded seconds) / unguarded seconds. The answer is made without a guard
   before and after each guarded one, and the mean of the two is what it is held against.

The weights may be random, of the real shape: what is measured does not depend on them. All take turns on the
same machine; where it has other work, only the ratios mean something, and those only roughly.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import random
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "bindings" / "python"))
import cabochon  # noqa: E402

WORDS = (
    "the a of and to in that it was for on are with as his they be at one have this from or had by but some what there "
    "we can out other were all your when up use word how said an each she which do their time if will way about many "
    "then them would write like so these her long make thing see him two has look more day could go come did my sound"
).split()


def rows_of(model: cabochon.Model, count: int, shortest: int, longest: int) -> list[str]:
    """Texts whose lengths in tokens are spread evenly from `shortest` to `longest`, shuffled."""
    draw = random.Random(1)
    rows = []
    for index in range(count):
        wanted = shortest + (longest - shortest) * index // max(count - 1, 1)
        words: list[str] = []
        while len(model.tokenize(" ".join(words), add_bos=False)) < wanted:
            words.append(draw.choice(WORDS))
        rows.append(" ".join(words))
    draw.shuffle(rows)
    return rows


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def judge(guard: cabochon.Guard, rows: list[str], alone: str) -> dict:
    """Time and tokens of some rows with one policy, and with all."""
    names = list(guard.policies)
    lengths = [{name: len(guard.render(row, policy=name)) for name in names} for row in rows]
    shared = [shared_length(guard, row, names) for row in rows]
    return {
        "one_seconds": seconds(lambda: guard.classify_rows(rows, policies=[alone])),
        "four_seconds": seconds(lambda: guard.classify_rows(rows, policies=names)),
        "one_tokens": sum(each[alone] for each in lengths),
        "four_tokens": sum(sum(each.values()) - (len(names) - 1) * share for each, share in zip(lengths, shared)),
        "all_tokens": sum(sum(each.values()) for each in lengths),
    }


def shared_length(guard: cabochon.Guard, row: str, names: list[str]) -> int:
    """How many tokens the policies' texts have in common."""
    texts = [guard.render(row, policy=name) for name in names]
    return next((at for at, ids in enumerate(zip(*texts)) if len(set(ids)) > 1), min(map(len, texts)))


class Peer:
    """A program that runs each prompt x policy by itself, in a process of another Python."""

    def __init__(self, name: str, python: str, model: str, threads: int) -> None:
        self.name, self.seconds, self.tokens, self.rows = name, 0.0, 0, 0
        command = [python, __file__, model, "--serve", name, "--threads", str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.score([2, 3, 4, 5])  # loads the model

    def score(self, ids: list[int]) -> float:
        """Seconds that one text takes."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(ids) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name} ended")
        return json.loads(answer)

    def judge(self, guard: cabochon.Guard, row: str) -> None:
        for policy in guard.policies:
            ids = guard.render(row, policy=policy)
            self.seconds += self.score(ids)
            self.tokens += len(ids)
        self.rows += 1


def serve(score) -> None:
    """Reads token ids, one text a line, and answers with the seconds that each took."""
    for line in sys.stdin:
        ids = json.loads(line)
        print(seconds(lambda: score(ids)), flush=True)


def llama_cpp(path: str, threads: int):
    import llama_cpp

    model = llama_cpp.Llama(path, n_ctx=1024, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False)

    def score(ids: list[int]) -> float:
        model.reset()
        model.eval(ids)
        # Not eval_logits, which makes a Python list of every row and would be most of the time.
        return float(llama_cpp.llama_get_logits_ith(model.ctx, -1)[0])

    return score


def transformers(path: str, threads: int):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.set_num_threads(threads)
    file = pathlib.Path(path)
    # Random weights of the file's shape: to dequantise the file would take longer than to measure.
    config = AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()

    def score(ids: list[int]) -> float:
        with torch.inference_mode():
            return float(model(torch.tensor([ids]), logits_to_keep=1, use_cache=False).logits[0, -1, 0])

    return score


PEERS = {"llama.cpp": llama_cpp, "transformers": transformers}


def compare(guard: cabochon.Guard, rows: list[str], parts: int, peers: list[Peer], peer_rows: int) -> dict:
    """Cabochon and its peers in turns, part by part of the rows."""
    names = list(guard.policies)
    total: dict = {}
    for part in range(parts):
        some = rows[part::parts]
        for key, value in judge(guard, some, names[part % len(names)]).items():
            total[key] = total.get(key, 0) + value
        for peer in peers:
            for row in some[: -(-peer_rows // parts)]:
                peer.judge(guard, row)
    total["rows"] = len(rows)
    total["ratio"] = total["four_seconds"] / total["one_seconds"]
    total["peers"] = []
    for peer in peers:
        spent = peer.seconds * total["all_tokens"] / peer.tokens
        total["peers"].append(
            {"name": peer.name, "rows_run": peer.rows, "tokens_per_second": peer.tokens / peer.seconds,
             "seconds": spent, "times_slower": spent / total["four_seconds"]}
        )
    return total


def answer(model: cabochon.Model, tokens: int, guarding: cabochon.Guarding | None = None) -> cabochon.Generation:
    return model.generate(
        "Tell me about lighthouses.", guard=guarding, max_tokens=tokens, temperature=0, ignore_eos=True
    )


def guarded_answers(
    model: cabochon.Model, templates: list[str], counts: list[int], tokens: int, every: int
) -> list[dict]:
    """What checking an answer on its way adds to the time that it takes."""
    results: list[dict] = []
    plain = seconds(lambda: answer(model, tokens))
    for count in counts:
        for template in templates:
            guard = cabochon.Guard(model, template=template)
            checks: list[cabochon.Check] = []
            made: list[cabochon.Generation] = []
            guarding = cabochon.Guarding(
                guard, "audit", interval=every, policies=list(guard.policies)[:count], check_prompt=False,
                on_check=checks.append,
            )
            guarded = seconds(lambda: made.append(answer(model, tokens, guarding)))
            before, plain = plain, seconds(lambda: answer(model, tokens))
            unguarded = (before + plain) / 2
            results.append({
                "template": template,
                "policies": count,
                "tokens": len(made[0].tokens),
                "checks": len(checks),
                "unguarded_seconds": unguarded,
                "guarded_seconds": guarded,
                "check_seconds": made[0].guard_seconds,
                "cost": (guarded - unguarded) / unguarded,
            })
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--backend")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--template", default="hf")
    parser.add_argument("--lengths", type=int, nargs=2, default=(60, 400), metavar=("SHORTEST", "LONGEST"))
    parser.add_argument("--answer-tokens", type=int, default=400)
    parser.add_argument("--answer-templates", nargs="+", default=["hf", "paper"], metavar="TEMPLATE")
    parser.add_argument("--answer-policies", type=int, nargs="+", default=[1, 4], metavar="COUNT")
    parser.add_argument("--every", type=int, default=16)
    parser.add_argument("--llama-python", metavar="PYTHON")
    parser.add_argument("--torch-python", metavar="PYTHON")
    parser.add_argument("--peer-rows", type=int, default=4)
    parser.add_argument("--skip-rows", action="store_true")
    parser.add_argument("--serve", choices=sorted(PEERS), help=argparse.SUPPRESS)
    parser.add_argument("--skip-answer", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    if options.serve:
        return serve(PEERS[options.serve](options.model, options.threads))
    model = cabochon.Model(options.model, backend=options.backend, threads=options.threads)
    guard = cabochon.Guard(model, template=options.template)
    guard.classify("Hello", policies=["harassment"])  # packs the weights
    result: dict = {"model": options.model, "backend": model.backend, "threads": options.threads,
                    "template": options.template}
    if not options.skip_rows:
        pythons = {"llama.cpp": options.llama_python, "transformers": options.torch_python}
        peers = [Peer(name, each, options.model, options.threads) for name, each in pythons.items() if each]
        rows = rows_of(model, options.rows, *options.lengths)
        result["policies"] = compare(guard, rows, options.parts, peers, options.peer_rows)
    result["answers"] = []
    if not options.skip_answer:
        result["answers"] = guarded_answers(
            model, options.answer_templates, options.answer_policies, options.answer_tokens, options.every)
    print(json.dumps(result) if options.json else text(result))


def text(result: dict) -> str:
    """What was found, for people."""
    lines = [f"{pathlib.Path(result['model']).name}, {result['backend']}, {result['threads']} threads"]
    found = result.get("policies")
    if found:
        lines += [
            f"one policy     {found['one_seconds']:8.2f} s  {found['rows']} rows ({result['template']}), {found['one_tokens']} tokens",
            f"four policies  {found['four_seconds']:8.2f} s  {found['four_tokens']} tokens, {found['ratio']:.2f} times one",
        ]
        for entry in found["peers"]:
            ran = f"{entry['rows_run']} rows run at {entry['tokens_per_second']:.1f} tokens/s, scaled by tokens to all"
            lines.append(f"{entry['name']:<14} {entry['seconds']:8.2f} s  {entry['times_slower']:.2f} times four ({ran})")
    for entry in result["answers"]:
        lines.append(
            f"answer of {entry['tokens']} tokens, {entry['policies']} policies ({entry['template']}), {entry['checks']} checks:"
            f" {entry['guarded_seconds']:.2f} s, {entry['unguarded_seconds']:.2f} s without, {entry['cost']:.0%} more;"
            f" checks ran {entry['check_seconds']:.2f} s"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
