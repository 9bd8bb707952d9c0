#!/usr/bin/env python3
"""Cabochon beside other runtimes: the same files, the same tokens, turn by turn.

    Benchmarks/compare.py MODEL.gguf ... [--venv FOLDER | --llama-python PYTHON] [--rounds 5] [--threads 2] [--greedy]
                          [--depth TOKENS] [--kv-type f16] [--openvino FOLDER[,GROUP]] ... [--transformers FOLDER]
                          [--peer-python PYTHON]

Each runtime is a process of its own that holds its model and waits; the turns go A B A B, so that a
slow minute of the machine meets both. Prints medians, ranges, and ratios of medians, in Markdown.
The tokens are random, the same for all: below 256,000, which every vocabulary of Gemma's has. After a run
of each that is not counted:

    prefill   the prompt in one call, to the logits after its last token
    decode    one token and the logits after it, so many times, from an empty context on, or with --depth
              behind so many tokens, of Cabochon and llama.cpp only, and without prefill
    greedy    so many tokens after one, each the most probable; not measured unless --greedy is given
    load      in a new process, from opening the model to the logits after 16 tokens; file cached, and as
              much memory as the file has just been written to and freed: a virtual machine's host may take
              seconds to give memory that was not in use
    memory    peak resident memory of the process that did prefill and decode, Python's included

Cabochon: bindings/python with CABOCHON_LIBRARY, or else build/. llama.cpp: llama-cpp-python, built for
this processor in an environment in --venv, or that of --llama-python, which may be held to AVX2 by
CMAKE_ARGS="-DGGML_NATIVE=OFF" and measured beside --backend avx2. OpenVINO GenAI and transformers
(bf16): a FOLDER in their own format, as make_peers.py makes them, and --peer-python; left out where not
installed. --openvino may be given several times; GROUP is its DYNAMIC_QUANTIZATION_GROUP_SIZE, how many
activations share a scale (32 unless given; 128 is faster and less exact). Exit status: 0 done; 1 where a
runtime failed, which is left out, and with which all of that model is where it is Cabochon; 2 bad usage.
"""

import argparse
import contextlib
import importlib
import mmap
import multiprocessing
import os
import pathlib
import platform
import random
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Of Gemma 2, the smallest; Gemma 3's ids below it are tokens too.
VOCABULARY = 256_000


class Cabochon:
    modules = ("cabochon", "numpy")

    def __init__(self, cabochon, numpy, path, options, context):
        model = cabochon.Model(path, options.backend or None, options.threads, options.kv_type)
        self.version, self.vocabulary = f"{cabochon.version()} {model.backend}", model.vocab_size
        self.session, self.depth = model.session(context), options.depth

    def prefill(self, ids):
        self.session.truncate(0)
        self.session.append(ids)
        self.session.logits()

    def decode(self, ids):
        self.session.truncate(self.depth)
        for token in ids:
            self.session.append([token])
            self.session.logits()

    def greedy(self, ids):
        self.session.truncate(0)
        self.session.generate(ids[:1], max_tokens=len(ids), temperature=0, ignore_eos=True)


class Llama:
    """llama-cpp-python's bare C functions: its Llama class does more than is asked for."""

    modules = ("llama_cpp",)
    batch_size = 512

    def __init__(self, c, path, options, context):
        c.llama_backend_init()
        compiled = " ".join(word for word in c.llama_print_system_info().decode().split() if "AVX" in word)
        self.c, self.version = c, f"llama-cpp-python {c.__version__} {compiled}".rstrip()
        parameters = c.llama_model_default_params()
        parameters.use_mmap, parameters.n_gpu_layers = True, 0
        self.model = c.llama_model_load_from_file(path.encode(), parameters)
        parameters = c.llama_context_default_params()
        parameters.n_ctx, parameters.n_batch, parameters.n_ubatch = context, self.batch_size, self.batch_size
        parameters.n_threads = parameters.n_threads_batch = options.threads
        parameters.type_k = parameters.type_v = {"f32": 0, "f16": 1, "q8_0": 8}[options.kv_type]
        self.depth = options.depth
        self.context = c.llama_init_from_model(self.model, parameters)
        self.batch = c.llama_batch_init(self.batch_size, 0, 1)
        self.vocabulary = c.llama_vocab_n_tokens(c.llama_model_get_vocab(self.model))
        self.sampler = c.llama_sampler_init_greedy()

    def append(self, ids, position, wants_logits):
        if position == 0:
            self.c.llama_memory_clear(self.c.llama_get_memory(self.context), False)
        batch = self.batch
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, position + i, 1, 0
            batch.logits[i] = wants_logits and i == len(ids) - 1
        if self.c.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama_decode failed")
        if wants_logits:
            self.c.llama_get_logits_ith(self.context, -1)[0]

    def prefill(self, ids):
        for start in range(0, len(ids), self.batch_size):
            part = ids[start : start + self.batch_size]
            self.append(part, start, start + len(part) == len(ids))

    def decode(self, ids):
        self.c.llama_memory_seq_rm(self.c.llama_get_memory(self.context), 0, self.depth, -1)
        for position, token in enumerate(ids, self.depth):
            self.append([token], position, True)

    def greedy(self, ids):
        token = ids[0]
        for position in range(len(ids)):
            self.append([token], position, True)
            token = self.c.llama_sampler_sample(self.sampler, self.context, -1)


class Transformers:
    modules = ("torch", "transformers")

    def __init__(self, torch, transformers, path, options, context):
        torch.set_num_threads(options.threads)
        self.torch, self.version = torch, f"transformers {transformers.__version__} bf16, torch {torch.__version__}"
        self.model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16)
        self.vocabulary = self.model.config.get_text_config().vocab_size

    def prefill(self, ids, past=None):
        with self.torch.inference_mode():
            ids = self.torch.tensor([ids])
            output = self.model(ids, past_key_values=past, use_cache=True, logits_to_keep=1)
        return output.past_key_values, output.logits[0, -1].argmax().item()

    def decode(self, ids):
        past = None
        for token in ids:
            past, _ = self.prefill([token], past)

    def greedy(self, ids):
        past, token = None, ids[0]
        for _ in ids:
            past, token = self.prefill([token], past)


class OpenVINO:
    """Picks the tokens itself: greedy, past the end of the text. FOLDER or FOLDER,GROUP is its path."""

    modules = ("openvino", "openvino_genai", "numpy")
    vocabulary = VOCABULARY

    def __init__(self, openvino, genai, numpy, path, options, context):
        self.tensor, self.numpy, self.genai = openvino.Tensor, numpy, genai
        folder, _, group = path.partition(",")
        settings = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": int(group)} if group else {}
        scheduler = genai.SchedulerConfig()
        scheduler.enable_prefix_caching = False  # or else the second prefill of the same tokens costs nothing
        scheduler.max_num_batched_tokens = context
        self.version = f"OpenVINO GenAI {genai.__version__}"
        settings["INFERENCE_NUM_THREADS"] = options.threads
        self.pipeline = genai.LLMPipeline(folder, "CPU", scheduler_config=scheduler, **settings)

    def prefill(self, ids, count=1):
        row = self.numpy.array([ids], self.numpy.int64)
        inputs = self.genai.TokenizedInputs(self.tensor(row), self.tensor(self.numpy.ones_like(row)))
        settings = self.genai.GenerationConfig(max_new_tokens=count, ignore_eos=True, do_sample=False)
        self.pipeline.generate(inputs, settings)

    def decode(self, ids):
        self.prefill(ids[:1], len(ids))

    greedy = decode


WORKERS = {"cabochon": Cabochon, "llama.cpp": Llama, "transformers": Transformers, "openvino": OpenVINO}


def tokens(vocabulary, count):
    """Random ids, the same in every process: also in one whose runtime knows more tokens than another's."""
    generator = random.Random(1)
    return [generator.randrange(min(vocabulary, VOCABULARY)) for _ in range(count)]


def work(name, path, options):
    """Opens the model, then answers each line of standard input with seconds or a number."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a runtime prints is no answer
    longest = max(options.prefill, options.depth + options.decode, 16)
    try:
        modules = [importlib.import_module(module) for module in WORKERS[name].modules]
    except ImportError as reason:
        return answers.write(f"absent\t{reason}\n")
    start = time.perf_counter()
    worker = WORKERS[name](*modules, path, options, longest)
    ids = tokens(worker.vocabulary, longest)
    worker.prefill(ids[:16])
    answers.write(f"{time.perf_counter() - start}\t{worker.version}\n")
    for question in map(str.strip, sys.stdin):
        start = time.perf_counter()
        if question == "memory":
            answers.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1.024e-3}\n")
        else:
            count = {"fill": options.depth, "prefill": options.prefill}.get(question, options.decode)
            getattr(worker, "prefill" if question == "fill" else question)(ids[:count])
            answers.write(f"{time.perf_counter() - start}\n")


class Peer:
    """A worker process, and what was measured with it. Once it fails it is left out, whatever it answered before."""

    def __init__(self, worker, python, path, options, name):
        self.name, self.version = name, ""
        self.is_there, self.is_installed = True, True
        self.figures = {"prefill": [], "decode": [], "greedy": [], "load": [], "memory": []}
        words = ("threads", "prefill", "decode", "depth", "kv-type", "backend")
        self.command = [python, __file__, path, "--worker", worker]
        self.command += [f"--{word}={getattr(options, word.replace('-', '_'))}" for word in words]

    def __enter__(self):
        path = os.pathsep.join(filter(None, [str(ROOT / "bindings" / "python"), os.environ.get("PYTHONPATH")]))
        self.words = tempfile.TemporaryFile("w+", errors="replace")  # a pipe that nobody reads would stop it when full
        try:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                            errors="replace", stderr=self.words,
                                            env={**os.environ, "PYTHONPATH": path})
        except OSError as reason:
            self.process, self.is_there = None, False
            print(f"{self.name} is left out: {reason}", file=sys.stderr)
            return self
        first, _, self.version = self.process.stdout.readline().strip().partition("\t")
        self.is_installed = first != "absent"
        self.take("load", first)
        return self

    def ask(self, question, figure=None, count=None):
        """Has the question answered; a figure takes the answer, or so many tokens for its seconds."""
        try:
            self.process.stdin.write(question + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it has ended, and answers nothing
        self.take(figure, self.process.stdout.readline(), count)

    def take(self, figure, answer, count=None):
        try:
            number = float(answer)
        except ValueError:
            self.is_there = False
            return self.process.kill()
        if figure:
            self.figures[figure].append(count / number if count else number)

    def __exit__(self, *_):
        if not self.process:
            return
        self.process.communicate()
        if not self.is_there:
            self.words.seek(0)
            words = self.words.read().strip()[-600:] or f"no answer, and exit status {self.process.returncode}"
            print(f"{self.name} is left out: {words if self.is_installed else self.version}", file=sys.stderr)


def warm_memory(byte_count):
    """Has the system hold that many bytes free that its host already backs."""
    with mmap.mmap(-1, byte_count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)  # in pieces that serve pages of either size
        for page in range(0, byte_count, mmap.PAGESIZE):
            memory[page] = 1


def measured(path, options):
    questions = ["decode"] if options.depth else ["prefill", "decode"] + ["greedy"] * options.greedy
    peers = [Peer("cabochon", sys.executable, path, options, "Cabochon")]
    if options.llama_python:
        peers.append(Peer("llama.cpp", options.llama_python, path, options, "llama.cpp"))
    for folder in options.openvino if not options.depth else []:
        peers.append(Peer("openvino", options.peer_python, folder, options, f"OpenVINO {pathlib.Path(folder).name}"))
    if options.transformers and not options.depth:
        peers.append(Peer("transformers", options.peer_python, options.transformers, options, "transformers"))

    def there():
        """Those to measure: none without Cabochon, since nothing could be said of them."""
        return [peer for peer in peers if peer.is_there] if peers[0].is_there else []

    for turn in range(0 if options.depth else options.rounds):
        for peer in there():
            # In a process of its own: what it holds at most would count as its children's, too.
            warming = multiprocessing.Process(target=warm_memory, args=(os.path.getsize(path) + (1 << 30),))
            warming.start()
            warming.join()
            with peer:
                pass
    with contextlib.ExitStack() as stack:
        for peer in there():
            stack.enter_context(peer)
            if options.depth:
                peer.figures["load"].clear()  # its memory was not warmed
            # Thrice, since the largest logits are found in another way after some hundred tokens.
            for what in ["fill"] * (options.depth > 0) + questions + 2 * questions[2:]:
                if peer.is_there:
                    peer.ask(what)
        for _ in range(options.rounds):
            for what in questions:
                for peer in there():
                    peer.ask(what, what, options.prefill if what == "prefill" else options.decode)
        for peer in there():
            peer.ask("memory", "memory")
    return peers


def table(path, options, peers):
    """The lines of the table about one model."""
    yield f"| {pathlib.Path(path).name} | {peers[0].name}{''.join(f' | {peer.name} | ratio' for peer in peers[1:])} |"
    yield "| --- | ---: |" + " ---: | ---: |" * (len(peers) - 1)
    where = f" at {options.depth}" if options.depth else ""
    words = {"prefill": f"prefill {options.prefill}, tokens/s", "decode": f"decode {options.decode}{where}, tokens/s",
             "greedy": f"greedy {options.decode}, tokens/s", "load": "load to first logits, s",
             "memory": "peak memory, MB"}
    for what in words:
        if not peers[0].figures[what]:
            continue
        medians, cells = [statistics.median(peer.figures[what]) for peer in peers], []
        for peer, median in zip(peers, medians):
            figures, digits = peer.figures[what], 0 if what == "memory" else 1 if median >= 20 else 2
            spread = f" ({min(figures):.{digits}f}–{max(figures):.{digits}f})" if len(figures) > 1 else ""
            cells += [f"{median:.{digits}f}{spread}"] + ([f"{medians[0] / median:.2f}"] if peer is not peers[0] else [])
        yield f"| {words[what]} | {' | '.join(cells)} |"
    yield f"\n{'; '.join(f'{peer.name}: {peer.version}' for peer in peers)}.\n"


def machine(threads):
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    fields = dict(map(str.strip, line.split(":", 1)) for line in lines if ":" in line)
    wanted = "avx2 avx512f avx512_vnni avx512_bf16 avx512_vbmi avx_vnni amx_int8 amx_bf16 asimddp i8mm".split()
    flags = [flag for flag in wanted if flag in fields.get("flags", fields.get("Features", "")).split()]
    memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) * 1.024e-6
    return (f"{fields.get('model name', platform.machine())}, {os.cpu_count()} processors, {memory:.0f} GB, "
            f"{platform.system()} {platform.release()}; {' '.join(flags)}; {threads} threads compute.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL.gguf")
    for name in ("venv", "llama-python", "transformers"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--openvino", action="append", default=[], metavar="FOLDER[,GROUP]")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--backend", default="", help="Cabochon's")
    parser.add_argument("--kv-type", default="f16", choices=("f16", "f32", "q8_0"), help="Cabochon's and llama.cpp's")
    for name, default in (("--threads", 2), ("--rounds", 5), ("--prefill", 512), ("--decode", 64), ("--depth", 0)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--greedy", action="store_true")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.greedy and options.depth:
        parser.error("--greedy is measured from an empty context on: not with --depth")
    least = {"threads": 1, "rounds": 1, "prefill": 1, "decode": 1, "depth": 0}
    for name, number in least.items():
        if getattr(options, name) < number:
            parser.error(f"--{name} is {getattr(options, name)}: at least {number}")
    if options.worker:
        return work(options.worker, options.models[0], options)
    folders = [folder.partition(",")[0] for folder in options.openvino]
    for path in [*options.models, *folders, *filter(None, [options.transformers])]:
        if not os.path.exists(path):
            parser.error(f"{path}: no such file or folder")
    if options.venv and not options.llama_python:
        options.llama_python = str(pathlib.Path(options.venv) / "bin" / "python")
        if not os.path.exists(options.llama_python):
            subprocess.run([sys.executable, "-m", "venv", options.venv], check=True)
        install = [options.llama_python, "-m", "pip", "install", "llama-cpp-python"]
        subprocess.run(install, check=True, stdout=sys.stderr)
    print(f"`{shlex.join(sys.argv)}`\n\n{machine(options.threads)}\n")
    has_failed = False
    for path in options.models:
        peers = measured(path, options)
        has_failed |= any(not peer.is_there and peer.is_installed for peer in peers)
        if not peers[0].is_there:
            has_failed = True
            print(f"{path}: not measured, since Cabochon could not run", file=sys.stderr)
            continue
        print(*table(path, options, [peer for peer in peers if peer.is_there]), sep="\n", flush=True)
    return int(has_failed)


if __name__ == "__main__":
    sys.exit(main())
