"""The README's programs are run as they stand there, beside a `model.gguf`."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from commandline import ROOT

TEXT = (ROOT / "README.md").read_text()
C_PROGRAM, = re.findall(r"```c\n(.*?)```", TEXT, re.DOTALL)
PYTHON_PROGRAM, MODERATION, FEATURES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def folder(tmp_path, tiny_gguf):
    shutil.copy(tiny_gguf, tmp_path / "model.gguf")
    return tmp_path


def test_the_c_program_compiles_and_tells_its_story(folder):
    (folder / "story.c").write_text(C_PROGRAM)
    library = ROOT / "build" / "lib"
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "story.c", "-o", "story", f"-I{ROOT / 'Include'}",
                    f"-L{library}", "-lcabochon", f"-Wl,-rpath,{library}"], cwd=folder, check=True)
    text = subprocess.run(["./story"], cwd=folder, check=True, capture_output=True).stdout
    assert text.startswith(b"Once upon a time") and len(text) > 40


@pytest.mark.parametrize("program", sorted((ROOT / "Examples" / "c").glob("*.c")), ids=lambda program: program.name)
def test_c_examples_are_plain_c11(program):
    subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only",
                    f"-I{ROOT / 'Include'}", str(program)], check=True)


def test_the_python_program_streams_and_prints_the_shapes(folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python")}
    run = subprocess.run([sys.executable, "-c", PYTHON_PROGRAM], cwd=folder, env=environment, check=True,
                         capture_output=True, text=True)
    assert re.search(r"\((\d+), 2073\)\n\(\1, 64\)\n$", run.stdout)


def test_the_moderation_program_judges_and_guards(folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python")}
    shutil.copy(folder / "model.gguf", folder / "shieldgemma-2b.gguf")
    program = 'import cabochon\nmodel = cabochon.Model("model.gguf")\n' + MODERATION
    run = subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, check=True, capture_output=True, text=True)
    lines = run.stdout.splitlines()
    assert len(lines) == 5 and lines[1].startswith("harassment 0.") and lines[4].split()[0] in ("content_filter", "length", "eos")


def test_the_features_program_encodes_and_steers(folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python")}
    # The small checkpoint has four layers.
    program = 'import cabochon\nmodel = cabochon.Model("model.gguf")\n' + FEATURES.replace("layer_12", "layer_2")
    path = folder / re.search(r'SAE\("([^"]+)"', program)[1]
    path.parent.mkdir(parents=True)
    shutil.copy(ROOT / "Tests/Fixtures/gemma2-tiny/expected/scope/resid_post_layer2.npz", path)
    run = subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, check=True, capture_output=True, text=True)
    assert len(run.stdout) > 40


def test_every_path_in_the_readme_is_there():
    text = (ROOT / "README.md").read_text()
    paths = re.findall(r"\]\(([\w/+.-]+)\)", text) + re.findall(r"`((?:Include|Examples|Sources|bindings)/[\w/+.-]+)`", text)
    assert len(paths) > 6
    assert [path for path in paths if not (ROOT / path).exists()] == []
