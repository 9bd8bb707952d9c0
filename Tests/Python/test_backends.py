"""Backends from outside: which files are taken, what is said of the others, and swapping in mid-answer."""

import ctypes
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

import cabochon

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TINY = REPOSITORY / "Tests" / "Fixtures" / "gemma2-tiny"
PLUGINS = REPOSITORY / "build" / "tests" / "plugins"
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
IDS = [2, 1725, 1667, 1675, 542, 485, 1545]

REFUSED = {
    "wrong_magic": "wrong magic",
    "other_major": "backend ABI",
    "short_descriptor": "bytes",
    "no_ops": "no name or no ops",
    "no_name": "no name or no ops",
    "impossible_features": "lacks",
    "missing_symbol": "cannot be loaded",
    "create_fails": "could not be created",
    "unresolved": "cannot be loaded",
}


def plugin(name):
    path = PLUGINS / f"libcabochon-{name}.so"
    if not path.exists():
        pytest.skip(f"{path} is not built (make bad-plugins)")
    return str(path)


@pytest.fixture(scope="module")
def scalar_logits():
    return cabochon.Model(TINY, backend="scalar").logits(IDS)


@pytest.mark.parametrize("name,reason", REFUSED.items())
def test_a_plugin_that_breaks_a_rule_is_refused_with_its_path_and_the_reason(name, reason):
    path = plugin(name)
    with pytest.raises(cabochon.Error) as failure:
        cabochon.Model(TINY, backend=path)
    assert failure.value.code == "backend"
    assert path in str(failure.value) and reason in str(failure.value)
    with pytest.raises(cabochon.Error, match=reason):
        cabochon.Model(TINY, backend=path)


SMALL_SIGNAL_STACK = """
import ctypes
class Stack(ctypes.Structure):
    _fields_ = [("memory", ctypes.c_void_p), ("flags", ctypes.c_int), ("bytes", ctypes.c_size_t)]
memory = ctypes.create_string_buffer(8192)
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(Stack(ctypes.addressof(memory), 0, 8192)), None) == 0
"""


@pytest.mark.skipif("amx" not in cabochon.backends(), reason="no AMX here")
def test_where_linux_refuses_tiles_the_next_backend_computes():
    # 8 KiB hold a signal frame of AVX-512, and not one with tiles.
    program = SMALL_SIGNAL_STACK + f"""
import cabochon
models = [cabochon.Model({str(TINY)!r}, backend=name) for name in (None, "simd")]
assert [model.backend for model in models] == ["avx512", "avx512"]
assert "amx" not in cabochon.backends()
try:
    cabochon.Model({str(TINY)!r}, backend="amx")
except cabochon.Error as error:
    assert "could not be created" in str(error)
else:
    raise SystemExit("amx was created")
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "bindings" / "python")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_file_that_is_no_library_is_refused(tmp_path):
    path = tmp_path / "libcabochon-text.so"
    path.write_text("not a library")
    with pytest.raises(cabochon.Error, match="libcabochon-text.so: cannot be loaded"):
        cabochon.Model(TINY, backend=str(path))
    with pytest.raises(cabochon.Error, match="No such file"):
        cabochon.Model(TINY, backend=str(tmp_path / "libcabochon-none.so"))


def test_a_plugin_that_others_may_write_is_refused(tmp_path):
    path = tmp_path / "libcabochon-open.so"
    path.write_bytes(pathlib.Path(plugin("null_ops")).read_bytes())
    path.chmod(0o666)
    with pytest.raises(cabochon.Error, match="writable by others"):
        cabochon.Model(TINY, backend=str(path))


@pytest.mark.parametrize("owner,mode", [(0, 0o777), pytest.param(12345, 0o755, marks=NEEDS_ROOT)])
def test_a_plugin_whose_folder_others_may_change_is_refused(tmp_path, owner, mode):
    folder = tmp_path / "plugins"
    folder.mkdir()
    path = folder / "libcabochon-null.so"
    path.write_bytes(pathlib.Path(plugin("null_ops")).read_bytes())
    path.chmod(0o755)
    cabochon.Model(TINY, backend=str(path))
    folder.chmod(mode)
    if owner:
        os.chown(folder, owner, -1)
    with pytest.raises(cabochon.Error, match="folder is owned or writable by others"):
        cabochon.Model(TINY, backend=str(path))


@NEEDS_ROOT
def test_the_backends_of_an_installation_are_its_owners_to_everybody(tmp_path):
    shutil.copytree(REPOSITORY / "build" / "lib", tmp_path / "lib", symlinks=True)
    installed = [tmp_path / "lib", *(tmp_path / "lib").rglob("*")]
    for path in installed:
        os.chown(path, 4711, 4711, follow_symlinks=False)
    described = describe_with(tmp_path / "lib" / "libcabochon.so.1")
    assert [one["name"] for one in described["backends"]] == cabochon.backends()
    stranger = next(path for path in installed if path.name == "libcabochon-blas.so")
    os.chown(stranger, 4712, 4712)
    assert {"path": str(stranger), "reason": "owned or writable by others, so it is not loaded"} in \
        describe_with(tmp_path / "lib" / "libcabochon.so.1")["rejected"]


def describe_with(library, **settings):
    """What another process says of the library."""
    environment = {"CABOCHON_LIBRARY": str(library), "PYTHONPATH": str(REPOSITORY / "bindings" / "python"),
                   **settings.pop("env", {})}
    program = "import cabochon, json, os; cabochon.version(); os.chdir('/'); print(json.dumps(cabochon.describe()))"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True, **settings)
    return json.loads(done.stdout)


@pytest.mark.parametrize("path", ["lib/libcabochon.so.1", "libcabochon.so.1"])
def test_backends_are_found_beside_a_library_that_was_loaded_by_a_relative_path(path):
    folder = (REPOSITORY / "build" / "lib" / "libcabochon.so.1").parents[path.count("/")]
    # An empty name in the loader's list is the current folder.
    described = describe_with(path, cwd=folder, env={"LD_LIBRARY_PATH": ":/nowhere"})
    assert [one["name"] for one in described["backends"]] == cabochon.backends()


def test_a_backend_that_is_taken_is_not_refused_by_another_name_of_its_file():
    described = cabochon.describe()
    paths = [os.path.realpath(one["path"]) for one in described["backends"] + described["rejected"] if one["path"]]
    assert len(paths) == len(set(paths)) > 0


def test_a_plugin_of_a_newer_header_is_used_for_what_this_host_knows():
    # Its softcap writes 42 everywhere.
    assert (cabochon.Model(TINY, backend=plugin("newer_minor")).logits(IDS) == 42).all()


@pytest.mark.parametrize("name", ["short_ops", "null_ops"])
def test_what_a_plugin_leaves_out_the_scalar_backend_computes(name, scalar_logits):
    assert np.array_equal(cabochon.Model(TINY, backend=plugin(name)).logits(IDS), scalar_logits)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The library of Examples/backend, made as its README says."""
    library = tmp_path_factory.mktemp("example") / "libcabochon-softcap.so"
    source = REPOSITORY / "Examples" / "backend" / "softcap_backend.c"
    command = ["cc", "-shared", "-fPIC", "-O2", "-I", REPOSITORY / "Include", source, "-o", library, "-lm"]
    subprocess.run(command, check=True)
    return library


def test_the_example_backend_builds_with_plain_cc_and_overrides_one_op(example, scalar_logits):
    model = cabochon.Model(TINY, backend=str(example))
    assert np.allclose(model.logits(IDS), scalar_logits, atol=1e-5)


def test_the_example_backend_passes_the_check_that_its_readme_asks_for(example):
    checker = REPOSITORY / "build" / "tests" / "checkbackend"
    if not checker.exists():
        pytest.skip(f"{checker} is not built")
    done = subprocess.run([checker, example], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("ends_by", ["free", "swap"])
def test_everything_prepared_is_released_when_its_model_is_freed_or_swaps_its_backend(tmp_path, scalar_logits, ends_by):
    library = tmp_path / "libcabochon-counting.so"
    source = REPOSITORY / "Tests" / "Backends" / "counting_plugin" / "counting_plugin.c"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-I", REPOSITORY / "Include", source, "-o", library], check=True)
    model = cabochon.Model(TINY, backend=str(library))
    plugin = ctypes.CDLL(str(library))
    count = lambda name: ctypes.c_uint64.in_dll(plugin, f"counting_{name}").value
    assert np.array_equal(model.logits(IDS), scalar_logits)
    # Seven matrices of four layers, and the head.
    assert (count("prepared"), count("screens"), count("released")) == (29, 0, 0)
    model.generate([2, 3], max_tokens=100, temperature=0, ignore_eos=True)
    assert (count("prepared"), count("screens"), count("released")) == (30, 1, 0)
    if ends_by == "swap":
        model.backend = "scalar"
    else:
        model.close()
    assert (count("prepared"), count("screens"), count("released")) == (30, 1, 30)


def test_an_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(cabochon.Error) as failure:
        cabochon.Model(TINY, backend="cuda")
    assert failure.value.code == "backend"
    assert "cuda" in str(failure.value) and "scalar" in str(failure.value)


@pytest.mark.parametrize("name", cabochon.backends())
def test_a_backend_swapped_in_mid_answer_goes_on_where_the_other_stopped(name):
    model = cabochon.Model(TINY, backend="scalar", kv_type="f32")
    session = model.session()
    options = dict(temperature=0, ignore_eos=True)
    whole = model.generate(IDS, max_tokens=24, **options)
    first = session.generate(IDS, max_tokens=12, **options)
    model.backend = name
    assert model.backend == name
    second = session.generate([], max_tokens=12, **options)
    # After a swap the rest may differ only where two logits nearly tie: on this prompt none does.
    assert first.tokens + second.tokens == whole.tokens
    swapped = session.logits()
    model.backend = "scalar"
    fresh = model.session()
    fresh.append(IDS + whole.tokens)
    # Twelve positions of KV and one forward pass by the other backend: float32 products stay within
    # 1e-3 of each other on this checkpoint, whose weights no backend quantises.
    assert np.abs(swapped - fresh.logits()).max() < 1e-3
