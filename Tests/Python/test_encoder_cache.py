"""Encoders in files: where they stand, what they cost, and that a damaged one is never believed."""

import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import cabochon
from test_screen import gaussian, save


def same(one, other):
    for name in ("indptr", "indices"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert np.array_equal(one.values.view(np.uint32), other.values.view(np.uint32))


def resident(what):
    """Megabytes of this process: RssAnon or RssFile."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(what)) / 1024


def dictionary(path, width, size, rows, threshold=2.5):
    _, encoder, x = gaussian(11, width, size, rows)
    save(path, encoder, np.zeros(width, np.float32), np.full(width, threshold, np.float32), np.zeros(size, np.float32))
    return x


@pytest.fixture
def small(tmp_path):
    return tmp_path / "params.npz", dictionary(tmp_path / "params.npz", 700, 100, 40, threshold=1.5)


@pytest.mark.parametrize("backend", cabochon.backends())
def test_a_file_gives_the_bits_that_memory_gives(small, tmp_path, backend):
    path, x = small
    want = cabochon.SAE(path, "res", 0, cache=False, backend="scalar")
    assert len(want.encode(x).indices) > 100
    for _ in ("made", "found"):
        sae = cabochon.SAE(path, "res", 0, cache=tmp_path / "cache", backend=backend)
        same(sae.encode(x), want.encode(x))
        same(sae.encode(x[:1]), want.encode(x[:1]))


@pytest.mark.parametrize("place", ["header", "bounds"])
def test_a_file_with_a_damaged_header_or_bound_is_made_again(small, tmp_path, place):
    path, x = small
    want = cabochon.SAE(path, "res", 0, cache=False).encode(x)
    cabochon.SAE(path, "res", 0, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    whole = file.read_bytes()
    # A page of header, 700 rows of 112 floats, 704 of codes, then the bounds; each on pages of its own.
    bounds = 4096 + -(-700 * 112 * 4 // 4096) * 4096 + -(-704 * 112 // 4096) * 4096
    damaged = bytearray(whole)
    damaged[16 if place == "header" else bounds + 3] ^= 0x40
    file.write_bytes(damaged)
    same(cabochon.SAE(path, "res", 0, cache=tmp_path / "cache").encode(x), want)
    assert file.read_bytes() != bytes(damaged)


def test_a_decoder_that_cannot_be_used_as_it_lies_stands_in_the_file(tmp_path):
    rng, encoder, x = gaussian(14, 700, 100, 6)
    decoder = rng.standard_normal((700, 100)).astype(np.float16)
    for name, array in (("half", decoder), ("fortran", np.asfortranarray(decoder.astype(np.float32)))):
        np.savez(
            tmp_path / f"{name}.npz", W_enc=encoder.T, W_dec=array, b_enc=np.zeros(700, np.float32),
            b_dec=x.mean(0), threshold=np.full(700, 1.5, np.float32),
        )  # fmt: skip
        want = cabochon.SAE(tmp_path / f"{name}.npz", "res", 0, cache=False)
        for _ in ("made", "found"):
            sae = cabochon.SAE(tmp_path / f"{name}.npz", "res", 0, cache=tmp_path / name)
            assert np.array_equal(sae.direction(699), decoder[699].astype(np.float32))
            same(sae.encode(x), want.encode(x))
            assert np.array_equal(sae.decode(sae.encode(x)), want.decode(want.encode(x)))


def test_a_file_read_as_an_autoencoder_and_as_a_transcoder_is_laid_out_for_both(small, tmp_path):
    path, x = small
    for site in ("res", "transcoder", "res"):
        found = cabochon.SAE(path, site, 0, cache=tmp_path / "cache").encode(x)
        same(found, cabochon.SAE(path, site, 0, cache=False).encode(x))
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_folder_without_a_name_is_refused_and_not_taken_for_the_root_folder(small):
    with pytest.raises(cabochon.Error, match="cache folder's name is empty") as failure:
        cabochon.SAE(small[0], "res", 0, cache="")
    assert failure.value.code == "invalid_argument"


def test_a_small_encoder_leaves_no_file_behind(small, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    cabochon.SAE(small[0], "res", 0).encode(small[1])
    assert not (tmp_path / "xdg").exists()


def test_a_wide_encoder_stands_in_the_users_cache_or_else_in_memory(tmp_path, monkeypatch):
    path = tmp_path / "params.npz"
    x = dictionary(path, 8192, 1024, 8)
    want = cabochon.SAE(path, "res", 0, cache=False).encode(x)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    same(cabochon.SAE(path, "res", 0).encode(x), want)
    (file,) = (tmp_path / "xdg" / "cabochon" / "encoders").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    same(cabochon.SAE(path, "res", 0).encode(x), want)


def test_a_limit_on_the_size_of_files_is_an_error_and_no_end_of_the_process(tmp_path, model_path):
    path = tmp_path / "params.npz"
    dictionary(path, 8192, 1024, 8)
    program = f"""
import resource, signal, cabochon
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # as in most programs; Python ignores it
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
cabochon.SAE({str(path)!r}, "res", 0)
session = cabochon.Model({str(model_path)!r}).session()
session.append(range(2, 66))
for call in (lambda: cabochon.SAE({str(path)!r}, "res", 0, cache={str(tmp_path)!r}), lambda: session.save({str(tmp_path / "session")!r})):
    try: call()
    except cabochon.Error as error: print(error.code, "File too large" in error.message)
"""
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "io True\nio True\n"), done.stderr
    assert os.listdir(tmp_path / "cabochon" / "encoders") == [] and not (tmp_path / "session").exists()


def test_an_encoder_in_a_file_takes_little_memory(tmp_path):
    # 201 MB of rows and 50 of codes: more than may all be resident. Thresholds so low that every row is read.
    path = tmp_path / "params.npz"
    x = dictionary(path, 24576, 2048, 16, threshold=1.0)
    anonymous = resident("RssAnon")
    sae = cabochon.SAE(path, "res", 0, threads=2, cache=tmp_path / "cache")
    assert resident("RssAnon") - anonymous < 32
    mapped = resident("RssFile")
    for rows in (x, x[:1]):
        sae.encode(rows)
        assert resident("RssAnon") - anonymous < 48
        assert resident("RssFile") - mapped < 100


def test_a_token_leaves_no_rows_of_a_large_file_in_memory_and_has_the_bits_that_memory_gives(tmp_path):
    # The 50 MB of codes are all that stays, though thousands of rows are read.
    path = tmp_path / "params.npz"
    x = dictionary(path, 24576, 2048, 16, threshold=1.0)
    sae = cabochon.SAE(path, "res", 0, threads=2, cache=tmp_path / "cache")
    mapped = resident("RssFile")
    tokens = [sae.encode(x[i : i + 1]) for i in range(4)] + [sae.encode(x[:3])]
    assert all(token.l0 > 1000 for token in tokens)
    assert resident("RssFile") - mapped < 64
    inside = cabochon.SAE(path, "res", 0, threads=2, cache=False)
    for i in range(4):
        same(tokens[i], inside.encode(x[i : i + 1]))
    same(tokens[4], inside.encode(x[:3]))


@pytest.mark.parametrize("element", [np.float32, np.float16])
def test_reconstructions_from_a_large_decoder_take_little_memory(tmp_path, element):
    # 268 MB of rows, in the dictionary's own file or, of another type, in the cache's. A transcoder's encoder is small.
    width, size, rows = 16384, 4096, 64
    rng = np.random.default_rng(15)
    decoder = rng.standard_normal((width, size), np.float32).astype(element)
    bias = rng.standard_normal(size).astype(np.float32)
    np.savez(
        tmp_path / "params.npz", W_enc=np.zeros((16, width), np.float32), W_dec=decoder, b_dec=bias,
        b_enc=np.zeros(width, np.float32), threshold=np.ones(width, np.float32),
    )  # fmt: skip
    sae = cabochon.SAE(tmp_path / "params.npz", "transcoder", 0, threads=2, cache=tmp_path / "cache")
    before = resident("RssFile")
    indices = np.stack([np.sort(rng.choice(width, 200, replace=False)) for _ in range(rows)])
    values = rng.standard_normal((rows, 200), np.float32)
    features = cabochon.Features(
        indptr=np.arange(rows + 1) * 200, indices=indices.ravel().astype(np.uint32), values=values.ravel(),
        excluded=np.zeros(rows, bool), width=width,
    )  # fmt: skip
    found = sae.decode(features)
    assert resident("RssFile") - before < 60
    want = np.zeros((rows, size), np.float32)
    for place in range(200):  # ascending features, one after another, then the bias
        want += values[:, place, None] * decoder[indices[:, place]].astype(np.float32)
    np.testing.assert_array_equal(found, want + bias)


def damage(path, *names):
    """Other bits in the middle of what the archive holds of these arrays; its directory, size and time stay."""
    times = os.stat(path)
    with zipfile.ZipFile(path) as archive:
        members = [archive.getinfo(f"{name}.npy") for name in names]
    data = bytearray(path.read_bytes())
    for member in members:
        data[member.header_offset + member.compress_size // 2] ^= 0xFF
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.fixture
def deflated(tmp_path):
    """Two deflated dictionaries, the same ones stored, and inputs."""
    rng, encoder, x = gaussian(16, 700, 300, 40)
    paths = []
    for name, factor in (("one", 1), ("two", -1)):
        arrays = dict(
            W_enc=np.ascontiguousarray(encoder.T) * factor, W_dec=rng.standard_normal((700, 300), np.float32),
            b_enc=np.zeros(700, np.float32), b_dec=x.mean(0), threshold=np.full(700, 1.5, np.float32),
        )  # fmt: skip
        np.savez(tmp_path / f"{name}-stored.npz", **arrays)
        np.savez_compressed(tmp_path / f"{name}.npz", **arrays)
        paths += [tmp_path / f"{name}.npz", tmp_path / f"{name}-stored.npz"]
    return paths, x


def same_dictionary(found, stored, x):
    want = cabochon.SAE(stored, "res", 0, cache=False)
    same(found.encode(x), want.encode(x))
    np.testing.assert_array_equal(found.decode(want.encode(x)), want.decode(want.encode(x)))
    np.testing.assert_array_equal(found.direction(699), want.direction(699))


def test_a_deflated_dictionary_is_inflated_by_the_first_load_alone(deflated, tmp_path):
    (path, stored, *_), x = deflated
    cache = tmp_path / "cache"
    same_dictionary(cabochon.SAE(path, "res", 0, cache=False), stored, x)
    same_dictionary(cabochon.SAE(path, "res", 0, cache=cache), stored, x)
    # Whoever inflates either matrix now finds another checksum.
    damage(path, "W_enc", "W_dec")
    same_dictionary(cabochon.SAE(path, "res", 0, cache=cache), stored, x)
    with pytest.raises(cabochon.Error) as failure:
        cabochon.SAE(path, "res", 0, cache=False)
    assert failure.value.code == "invalid_file" and "W_" in failure.value.message


def test_a_deflated_dictionary_is_inflated_again_where_its_file_in_the_cache_cannot_be_used(deflated, tmp_path):
    (path, stored, other, other_stored), x = deflated
    cache = tmp_path / "cache"
    cabochon.SAE(path, "res", 0, cache=cache)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    for part in (whole[:-4096], whole[:100], whole + bytes(4096), b""):
        file.write_bytes(part)
        same_dictionary(cabochon.SAE(path, "res", 0, cache=cache), stored, x)
        assert file.read_bytes() == whole
    os.replace(other, path)
    same_dictionary(cabochon.SAE(path, "res", 0, cache=cache), other_stored, x)
    assert file.read_bytes() != whole and len(list(cache.iterdir())) == 1
