"""Sparse autoencoders: encoding, steering, splicing and watching, against numpy and the fixture."""

import copy
import dataclasses
import pickle
import threading
import time

import numpy as np
import pytest

import cabochon
import reference
from binding import GREEDY, error_of

FOLDER = "expected/scope"


@pytest.fixture(scope="module")
def exact(model_path):
    """float32 keys and values, on the reference backend."""
    return cabochon.Model(model_path, backend="scalar", threads=2, kv_type="f32")


@pytest.fixture(scope="module")
def ids(expected):
    return expected["prompts"][2]["ids"]


def dictionary(model_path, site, layer):
    path = model_path / FOLDER / f"{site}_layer{layer}.npz"
    with np.load(path) as arrays:
        return cabochon.SAE(path, site=site, layer=layer), {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="module")
def residual(model_path):
    return dictionary(model_path, "resid_post", 2)


def dense(x, arrays):
    """JumpReLU in float64."""
    pre = x.astype(np.float64) @ arrays["W_enc"].astype(np.float64) + arrays["b_enc"]
    return np.where(pre > arrays["threshold"], pre, 0)


def test_features_are_jumprelus(residual, expected_arrays):
    sae, arrays = residual
    x = expected_arrays["acts.2.2.resid_post"]
    found = sae.encode(x)
    want = dense(x, arrays)
    assert found.shape == want.shape == (len(x), sae.width)
    np.testing.assert_allclose(found.to_dense(), want, atol=1e-4)
    assert ((found.to_dense() > 0) == (want > 0)).all()
    assert (np.diff(found.indices.astype(int))[np.diff(np.repeat(np.arange(len(x)), np.diff(found.indptr))) == 0] > 0).all()
    strongest = found.top(3)[5]
    assert [feature for feature, _ in strongest] == np.argsort(-want[5], kind="stable")[:3].tolist()


def test_a_feature_at_its_threshold_does_not_fire(tmp_path):
    # pre is exact in float32 here, so that equality is: 1 > 1 is false, and the next number above is true.
    width, size = 4, 64
    encoder = np.zeros((size, width), np.float32)
    encoder[0] = [1, 1, 1, -1]
    above = np.nextafter(np.float32(1), np.float32(0))
    np.savez(
        tmp_path / "params.npz", W_enc=encoder, W_dec=np.eye(width, size, dtype=np.float32), b_enc=np.zeros(width, np.float32),
        b_dec=np.zeros(size, np.float32), threshold=np.array([1, above, np.nextafter(np.float32(1), np.float32(2)), -2], np.float32),
    )  # fmt: skip
    sae = cabochon.SAE(tmp_path, site="res", layer=0)
    x = np.zeros((1, size), np.float32)
    x[0, 0] = 1
    found = sae.encode(x)
    assert found.indices.tolist() == [1, 3]
    assert found.values.tolist() == [1, -1]
    np.testing.assert_array_equal(sae.decode(found)[0, :4], [0, 1, 0, -1])


@pytest.mark.parametrize("rows", [1, 3, 61])
def test_batches_and_threads_do_not_show(model_path, expected_arrays, rows):
    x = expected_arrays["acts.2.2.resid_post"]
    path = model_path / FOLDER / "resid_post_layer2.npz"
    whole = cabochon.SAE(path, "res", 2, threads=1, backend="scalar").encode(x)
    for backend in cabochon.backends():
        sae = cabochon.SAE(path, "res", 2, threads=2, backend=backend)
        parts = [sae.encode(x[first : first + rows]) for first in range(0, len(x), rows)]
        np.testing.assert_array_equal(np.concatenate([part.indices for part in parts]), whole.indices)
        np.testing.assert_array_equal(np.concatenate([part.values for part in parts]).view(np.uint32), whole.values.view(np.uint32))


def test_numpy_may_compress_reorder_and_narrow(residual, tmp_path, expected_arrays):
    sae, arrays = residual
    x = expected_arrays["acts.2.2.resid_post"]
    want = sae.encode(x)
    np.savez_compressed(tmp_path / "deflated.npz", **arrays)
    fortran = {name: np.asfortranarray(array) for name, array in arrays.items()}
    np.savez(tmp_path / "fortran.npz", **fortran)
    np.savez(tmp_path / "c.npz", **{name: np.ascontiguousarray(array).astype(np.float64) for name, array in arrays.items()})
    for name in ("deflated", "fortran", "c"):
        other = cabochon.SAE(tmp_path / f"{name}.npz", "res", 2)
        found = other.encode(x)
        np.testing.assert_array_equal(found.indices, want.indices)
        np.testing.assert_array_equal(found.values, want.values)
        np.testing.assert_array_equal(other.decode(found), sae.decode(want))


def test_an_encoder_in_a_cache_gives_the_same_bits_and_is_made_again_when_it_must(
    residual, tmp_path, expected_arrays, model_path
):
    sae, arrays = residual
    x = expected_arrays["acts.2.2.resid_post"]
    want = cabochon.SAE(model_path / FOLDER / "resid_post_layer2.npz", "res", 2, cache=False).encode(x)
    source, cache = tmp_path / "params.npz", tmp_path / "made" / "here"
    np.savez(source, **arrays)

    def encoded():
        found = cabochon.SAE(source, "res", 2, cache=cache).encode(x)
        (kept,) = cache.iterdir()
        return found, kept

    def same(found):
        return np.array_equal(found.indices, want.indices) and np.array_equal(found.values, want.values)

    found, kept = encoded()
    assert same(found)
    first = kept.stat().st_ino
    found, kept = encoded()
    assert same(found) and kept.stat().st_ino == first
    # A file that is not whole, or of another source, is laid out anew.
    kept.write_bytes(kept.read_bytes()[:-64])
    found, kept = encoded()
    assert same(found) and kept.stat().st_ino != first
    np.savez(source, **{**arrays, "b_enc": arrays["b_enc"] + 1})
    found, kept = encoded()
    assert not same(found)
    error = error_of(cabochon.SAE, source, "res", 2, cache=source / "below a file")
    assert error.code == "io" and "below a file" in error.message


def test_site_and_layer_come_from_the_path(residual, tmp_path):
    _, arrays = residual
    cases = {
        "gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82": ("resid_post", 12, "autoencoder", 82),
        "models--google--gemma-scope-2b-pt-att/snapshots/1f2e/layer_3/width_16k/average_l0_77": ("attn_z", 3, "autoencoder", 77),
        "gemma-scope-9b-pt-mlp/layer_4/width_131k/average_l0_6": ("mlp_out", 4, "autoencoder", 6),
        "gemma-scope-2b-pt-transcoders/layer_19/width_16k/average_l0_12": ("mlp_in_normalized", 19, "transcoder", 12),
        "gemma-scope-2b-pt-res/embedding/width_4k/average_l0_21": ("resid_pre", 0, "autoencoder", 21),
    }
    for folder, (site, layer, kind, l0) in cases.items():
        path = tmp_path / folder
        path.mkdir(parents=True)
        np.savez(path / "params.npz", **arrays)
        sae = cabochon.SAE(path)
        assert (sae.site, sae.layer, sae.kind, sae.average_l0) == (site, layer, kind, l0)
    np.savez(tmp_path / "params.npz", **arrays)
    assert "site" in error_of(cabochon.SAE, tmp_path / "params.npz").message
    assert "layer" in error_of(cabochon.SAE, tmp_path / "params.npz", "res").message


def test_what_does_not_fit_is_refused_with_both_sizes(exact, residual, model_path, tmp_path, ids):
    sae, arrays = residual
    far = cabochon.SAE(model_path / FOLDER / "resid_post_layer2.npz", "res", 9)
    assert "layer 9" in error_of(exact.features, ids, far).message
    narrow = {"W_enc": arrays["W_enc"][:48], "W_dec": arrays["W_dec"][:, :48], "b_dec": arrays["b_dec"][:48]}
    np.savez(tmp_path / "narrow.npz", **{**arrays, **narrow})
    small = cabochon.SAE(tmp_path / "narrow.npz", "res", 2)
    for call in (lambda: exact.features(ids, small), lambda: exact.logits(ids, splice=[small])):
        message = error_of(call).message
        assert "48" in message and "64" in message
    np.savez(tmp_path / "torn.npz", **{**arrays, "b_enc": arrays["b_enc"][:-1]})
    assert "b_enc" in error_of(cabochon.SAE, tmp_path / "torn.npz", "res", 2).message
    without = {name: array for name, array in arrays.items() if name != "threshold"}
    np.savez(tmp_path / "without.npz", **without)
    assert "threshold" in error_of(cabochon.SAE, tmp_path / "without.npz", "res", 2).message
    assert error_of(exact.logits, ids, steer=[cabochon.Steer(sae, sae.width, 1.0)]).code == "invalid_argument"
    assert error_of(exact.logits, ids, steer=[cabochon.Steer(sae, 0, float("nan"))]).code == "invalid_argument"
    assert error_of(exact.logits, ids, steer=[cabochon.Steer(sae, 0, 1.0, mode="more")]).code == "invalid_argument"


def test_features_are_equal_by_their_numbers(exact, residual, ids):
    features = exact.features(ids, residual[0])
    assert features == exact.features(ids, residual[0]) == copy.deepcopy(features)
    assert exact.features(ids[:-1], residual[0]) != features != None  # noqa: E711
    for name in ("values", "indices", "excluded", "positions"):
        numbers = getattr(features, name)
        other = np.zeros(len(ids), np.int64) if numbers is None else numbers + 1
        assert dataclasses.replace(features, **{name: other}) != features, name


def test_the_bos_row_is_there_and_marked(exact, residual, ids):
    found = exact.features(ids, residual[0])
    assert len(found) == len(ids)
    assert found.excluded.tolist() == [int(token in (exact.bos_id, *exact.eos_ids[:1])) for token in ids]
    assert found.excluded[0] == 1


def test_several_dictionaries_share_one_pass(exact, residual, model_path, ids):
    saes = [residual[0], dictionary(model_path, "attn_z", 1)[0], dictionary(model_path, "mlp_in_normalized", 1)[0]]
    for sae, found in zip(saes, exact.features(ids, saes)):
        alone = exact.features(ids, sae)
        np.testing.assert_array_equal(found.indices, alone.indices)
        np.testing.assert_array_equal(found.values, alone.values)


@pytest.mark.parametrize("mode", ["set", "scale", "ablate", "add"])
def test_an_edit_is_saelens_error_term_form(exact, residual, model_path, ids, mode):
    # x' = decode(f') + (x - decode(f)): two dense decodes and the error term. Here f' differs in one feature.
    sae, arrays = residual
    x = exact.activations(ids, "2.resid_post")["2.resid_post"]
    f = dense(x, arrays)
    feature = int(np.argmax((f[1:] > 0).sum(0)))
    edited = f.copy()
    edited[:, feature] = {"set": 7.5, "scale": 3 * f[:, feature], "ablate": 0, "add": f[:, feature] + 7.5}[mode]
    decoder = arrays["W_dec"].astype(np.float64)
    error = x - (f @ decoder + arrays["b_dec"])
    want = edited @ decoder + arrays["b_dec"] + error
    strength = {"set": 7.5, "scale": 3.0, "ablate": 0.0, "add": 7.5}[mode]
    got = exact.logits(ids, steer=[cabochon.Steer(sae, feature, strength, mode=mode)])
    ref = reference.logits(model_path, ids, after={2: want})
    np.testing.assert_allclose(got, ref, atol=2e-3)
    assert np.abs(got - exact.logits(ids)).max() > 1e-2


@pytest.mark.parametrize("mode", ["orthogonal", "cap"])
def test_projections_change_the_part_along_the_feature_alone(exact, residual, model_path, ids, mode):
    sae, arrays = residual
    x = exact.activations(ids, "2.resid_post")["2.resid_post"].astype(np.float64)
    feature = 11
    unit = arrays["W_dec"][feature].astype(np.float64)
    unit /= np.linalg.norm(unit)
    along = x @ unit
    strength = -2.0 if mode == "orthogonal" else float(np.median(along))
    wanted = strength * along if mode == "orthogonal" else np.minimum(along, strength)
    want = x + (wanted - along)[:, None] * unit
    got = exact.logits(ids, steer=[cabochon.Steer(sae, feature, strength, mode=mode)])
    np.testing.assert_allclose(got, reference.logits(model_path, ids, after={2: want}), atol=2e-3)


def test_positions_and_conditions_choose_where(exact, residual, model_path, ids):
    sae, arrays = residual
    x = exact.activations(ids, "2.resid_post")["2.resid_post"].astype(np.float64)
    f = dense(x, arrays)
    watched = int(np.argmax(((f > 0).sum(0) > 5) * ((f > 0).sum(0) < 40)))
    bar = float(np.median(f[:, watched][f[:, watched] > 0]))
    where = f[:, watched] > bar
    assert 0 < where.sum() < len(ids)
    want = x + np.where(where, 9.0, 0.0)[:, None] * arrays["W_dec"][3]
    got = exact.logits(ids, steer=[cabochon.Steer(sae, 3, 9.0, condition=(sae, watched, bar))])
    np.testing.assert_allclose(got, reference.logits(model_path, ids, after={2: want}), atol=2e-3)
    listed = exact.logits(ids, steer=[cabochon.Steer(sae, 3, 9.0, positions=np.flatnonzero(where).tolist())])
    np.testing.assert_array_equal(got, listed)
    np.testing.assert_array_equal(exact.logits(ids, steer=[cabochon.Steer(sae, 3, 9.0, positions="answer")]), exact.logits(ids))
    late = dictionary(model_path, "mlp_out", 3)[0]
    assert "only after" in error_of(exact.logits, ids, steer=[cabochon.Steer(sae, 3, 9.0, condition=(late, 0, 0.0))]).message


def test_the_reference_is_transformers(model_path, expected, expected_arrays):
    got = reference.logits(model_path, expected["prompts"][1]["ids"])
    np.testing.assert_allclose(got, expected_arrays["logits.1"], atol=1e-3)


def test_a_spliced_transcoder_replaces_the_mlps_output(exact, model_path, ids):
    sae, arrays = dictionary(model_path, "mlp_in_normalized", 1)
    assert sae.kind == "transcoder"

    def mlp(layer, bare, out):
        if layer != 1:
            return out
        spliced = dense(bare, arrays) @ arrays["W_dec"].astype(np.float64) + arrays["b_dec"]
        return np.where((np.asarray(ids) == exact.bos_id)[:, None], out, spliced)

    want = reference.logits(model_path, ids, mlp=mlp)
    got = exact.logits(ids, splice=[sae])
    # One feature of one token may lie within float32's rounding of its threshold.
    np.testing.assert_allclose(got, want, atol=5e-3)
    assert np.abs(want - reference.logits(model_path, ids)).max() > 0.1


def test_watching_gives_each_token_its_features(exact, residual, ids):
    sae = residual[0]
    pieces = []
    options = dict(max_tokens=9, **GREEDY)
    answer = exact.generate(ids, watch=[sae], on_features=lambda which, found: pieces.append((which, found)), **options)
    plain = exact.generate(ids, **options)
    assert answer.tokens == plain.tokens
    whole = list(ids) + answer.tokens
    found = answer.features[0]
    assert found.positions.tolist() == list(range(len(whole)))
    alone = exact.features(whole, sae)
    np.testing.assert_array_equal(found.indices, alone.indices)
    np.testing.assert_array_equal(found.values, alone.values)
    assert [len(part) for _, part in pieces] == [len(ids)] + [1] * 9
    assert error_of(exact.generate, ids, watch=[sae], assist="prompt-lookup", max_tokens=2).code == "invalid_argument"


def test_watched_features_of_the_last_layer_are_there_for_every_token(exact, model_path, ids):
    # Who reads logits only needs one row of the last layer.
    sae, _ = dictionary(model_path, "mlp_out", exact.layer_count - 1)
    answer = exact.generate(ids, watch=[sae], max_tokens=3, **GREEDY)
    whole = list(ids) + answer.tokens
    found, alone = answer.features[0], exact.features(whole, sae)
    assert found.positions.tolist() == list(range(len(whole)))
    assert_rows(found, [alone.row(row) for row in range(len(whole))])
    assert sum(len(alone.row(row)[0]) for row in range(len(ids))) > len(ids)


def test_a_stream_hands_over_each_piece_with_its_features(exact, residual, ids):
    sae = residual[0]
    few = sae.only([12, 121, 300, 7])
    # Bytes of characters that have no piece of their own: tokens that bring no text, and texts of several tokens.
    spelled = {token: 60.0 for character in "🙂é" for token in exact.tokenize(character, add_bos=False)}
    for bias, ending in (({}, {}), (spelled, {}), ({}, {"stop": "\N{BLACK SMALL SQUARE} no such"})):
        options = dict(max_tokens=12, temperature=2.0, seed=5, ignore_eos=True, logit_bias=bias, watch=[sae, few], **ending)
        texts, also = [], []
        whole = exact.generate(ids, on_text=texts.append, **options)
        stream = exact.stream(ids, on_features=lambda which, found: also.append(which), **options)
        pieces = list(stream)
        assert "".join(pieces) == whole.text and stream.generation.tokens == whole.tokens
        assert all(pieces[1:-1]) and len(also) == 2 * 13
        for which, features in enumerate(whole.features):
            parts = [piece.features[which] for piece in pieces]
            assert [position for part in parts for position in part.positions] == features.positions.tolist()
            assert_rows(features, [part.row(row) for part in parts for row in range(len(part))])
        # The prompt's rows first, then each token's with the text that it completes.
        assert pieces[0] == "" and len(pieces[0].features[0]) == len(ids)
        at = 0
        for piece in pieces[1:]:
            count = len(piece.features[0])
            assert piece == "".join(texts[at : at + count]) and texts[at + count - 1]
            at += count
        assert at == 12
    assert not any(hasattr(piece, "features") for piece in exact.stream(ids, max_tokens=3))
    for same in (copy.copy(piece), copy.deepcopy(piece), *(pickle.loads(pickle.dumps(piece, of)) for of in range(6))):
        assert type(same) is cabochon.WatchedText and same == piece and same.features == piece.features
    with exact.stream(ids, watch=[sae], max_tokens=100_000, ignore_eos=True) as stream:
        next(stream), next(stream)
    assert stream.generation is None


def test_steering_from_the_answer_on_leaves_the_prompt_alone(exact, residual, ids):
    sae = residual[0]
    edit = cabochon.Steer(sae, 121, 40.0, positions="answer")
    steered = exact.generate(ids, steer=[edit], watch=[sae], max_tokens=4, **GREEDY)
    before = len(ids) - 1
    alone = exact.features(ids, sae)
    np.testing.assert_array_equal(steered.features[0].indices[: alone.indptr[before]], alone.indices[: alone.indptr[before]])
    everywhere = exact.logits(ids, steer=[cabochon.Steer(sae, 121, 40.0, positions=[before])])
    assert steered.tokens[0] == int(everywhere[-1].argmax())
    # A session is not steered for good.
    session = exact.session()
    session.generate(ids, steer=[edit], max_tokens=1, **GREEDY)
    session.truncate(0)
    assert session.generate(ids, max_tokens=4, **GREEDY).tokens == exact.generate(ids, max_tokens=4, **GREEDY).tokens


def test_an_exception_in_on_features_comes_back(exact, residual, ids):
    def fail(which, found):
        raise RuntimeError("enough")

    session = exact.session()
    session.append(ids)
    with pytest.raises(RuntimeError, match="enough"):
        session.generate((), watch=[residual[0]], on_features=fail, max_tokens=3, **GREEDY)
    assert session.tokens == list(ids)
    answer = session.generate((), max_tokens=3, **GREEDY)
    assert answer.tokens == exact.generate(ids, max_tokens=3, **GREEDY).tokens


def subset(found, listed):
    """The rows of `found` with no features but the listed ones, as (indices, values) of each row."""
    keep = [np.isin(found.row(row)[0], listed) for row in range(len(found))]
    return [(found.row(row)[0][mask], found.row(row)[1][mask]) for row, mask in enumerate(keep)]


def assert_rows(found, rows):
    assert len(found) == len(rows)
    for row, (indices, values) in enumerate(rows):
        np.testing.assert_array_equal(found.row(row)[0], indices)
        np.testing.assert_array_equal(found.row(row)[1].view(np.uint32), values.view(np.uint32))


def test_listed_features_are_those_of_the_whole_encode(model_path, expected_arrays):
    x = expected_arrays["acts.2.2.resid_post"]
    for backend in cabochon.backends():
        sae = cabochon.SAE(model_path / FOLDER / "resid_post_layer2.npz", "res", 2, backend=backend)
        whole = sae.encode(x)
        often = np.argsort(-np.bincount(whole.indices, minlength=sae.width), kind="stable")
        for listed in ([int(often[0])], often[:40].tolist(), list(range(sae.width)), [511, int(often[3]), 0]):
            few = sae.only(listed)
            assert (few.width, few.site, few.layer) == (sae.width, sae.site, sae.layer)
            for rows in (len(x), 1):
                assert_rows(few.encode(x[:rows]), subset(whole, listed)[:rows])
        # What is not encoded is the whole dictionary's.
        np.testing.assert_array_equal(few.direction(5), sae.direction(5))
        np.testing.assert_array_equal(few.decode(whole), sae.decode(whole))


def test_a_list_of_features_is_checked_and_outlives_its_dictionary(model_path, expected_arrays):
    sae = cabochon.SAE(model_path / FOLDER / "resid_post_layer2.npz", "res", 2)
    for features, word in (([3, 512], "feature 512"), ([7, 3, 7], "feature 7"), ([], "no features"), ([2**32], str(2**32))):
        error = error_of(sae.only, features)
        assert error.code == "invalid_argument" and word in str(error)
    x = expected_arrays["acts.2.2.resid_post"]
    want = subset(sae.encode(x), [300, 12])
    few = sae.only([121]).only([300, 12])
    sae.close()
    assert_rows(few.encode(x), want)


def test_listed_features_are_watched_alone(exact, residual, ids):
    sae = residual[0]
    listed = np.unique(exact.features(ids, sae).indices)[::7].tolist()
    few = sae.only(listed)
    whole = exact.generate(ids, watch=[sae], max_tokens=5, **GREEDY)
    some = exact.generate(ids, watch=[few, sae], max_tokens=5, **GREEDY)
    assert some.tokens == whole.tokens and len(some.features[0].indices) > 0
    assert_rows(some.features[0], subset(whole.features[0], listed))
    assert_rows(some.features[1], subset(whole.features[0], range(sae.width)))
    np.testing.assert_array_equal(some.features[0].excluded, whole.features[0].excluded)
    assert_rows(exact.features(ids, few), subset(exact.features(ids, sae), listed))
    # Splicing puts in what these features reconstruct.
    assert not np.array_equal(exact.logits(ids, splice=[few]), exact.logits(ids, splice=[sae]))
    all_of_them = sae.only(range(sae.width))
    np.testing.assert_array_equal(exact.logits(ids, splice=[all_of_them]), exact.logits(ids, splice=[sae]))
    steered = exact.logits(ids, steer=[cabochon.Steer(few, 121, 4.0, "set")])
    np.testing.assert_array_equal(steered, exact.logits(ids, steer=[cabochon.Steer(sae, 121, 4.0, "set")]))


def test_an_encode_is_cancelled_from_another_thread(exact, residual, ids):
    sae = residual[0]
    long = [ids[0]] + list(ids[1:]) * 33
    assert 1500 < len(long) <= exact.context_length
    for call in (lambda: exact.features(long, sae), lambda: exact.logits(long), lambda: exact.activations(long, "2.resid_post")):
        exact.cancel()
        assert error_of(call).code == "cancelled", "a request that comes early stops the next call"

    def until_cancelled():
        # One request ends a loop of calls wherever in a call it comes, also after the last layer.
        end = time.monotonic() + 60
        while time.monotonic() < end:
            exact.features(long, sae)

    timer = threading.Timer(0.3, exact.cancel)
    timer.start()
    assert error_of(until_cancelled).code == "cancelled"
    timer.join()
    # The next goes on as if nothing had been, and answers are their sessions' own.
    assert len(exact.features(ids, sae)) == len(ids)
    exact.cancel()
    assert exact.generate(ids, max_tokens=2, **GREEDY).tokens
    assert error_of(exact.features, ids, sae).code == "cancelled"


def test_interventions_after_tokens_that_were_read_before_act_on_the_last_of_them(exact, model_path, tmp_path, ids):
    sae, _ = dictionary(model_path, "resid_post", 2)
    options = dict(max_tokens=4, steer=[cabochon.Steer(sae, 121, 40.0, positions="answer")], watch=[sae], **GREEDY)
    want = exact.generate(ids, **options)
    assert want.tokens != exact.generate(ids, max_tokens=4, **GREEDY).tokens
    read = exact.session()
    read.append(ids)
    read.save(tmp_path / "session")
    longer = exact.session()
    longer.append([*ids, 50])
    longer.truncate(len(ids))
    for session in (read, exact.restore(tmp_path / "session"), longer):
        found = session.generate([], **options)
        assert found.tokens == want.tokens
        assert found.features[0].positions[0] == len(ids) - 1
    # What was steered is not what the session computes by itself.
    plain = exact.session()
    plain.append(ids)
    for count in (1, 2, 3):
        steered = exact.session()
        steered.generate(ids, max_tokens=count, steer=options["steer"], **GREEDY)
        steered.truncate(len(ids))
        assert np.array_equal(steered.logits(), plain.logits()), count


def test_zip64_is_read(residual, tmp_path, expected_arrays):
    import zipfile

    sae, arrays = residual
    # As numpy writes arrays whose size it does not know beforehand, and as an archive beyond 4 GB has them.
    for name, method in (("stored.npz", zipfile.ZIP_STORED), ("deflated.npz", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(tmp_path / name, "w", method, allowZip64=True) as archive:
            for key, array in arrays.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array)
        x = expected_arrays["acts.2.2.resid_post"]
        found = cabochon.SAE(tmp_path / name, "res", 2).encode(x)
        assert_rows(found, subset(sae.encode(x), range(sae.width)))
