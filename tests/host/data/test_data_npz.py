"""A user's own arrays: what comes back, and one clear error for every way to be wrong."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from edge_s4op.errors import DataError
from host.data.dataset import load_dataset

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 8, 2)).astype(np.float32)
Y = np.arange(30) % 3
TOKENS = RNG.integers(0, 7, size=(30, 8))


def load(path, **arrays):
    np.savez(path, **arrays)
    return load_dataset(f"npz:{path}")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "mine.npz"


def test_given_splits_come_back_in_order(file):
    data = load(
        file, x=X, y=Y, x_validation=X[:6] + 1, y_validation=Y[:6], x_test=X[::-1], y_test=Y[::-1],
        class_labels=["sit", "walk", "run"],
    )  # fmt: skip
    mean, std = np.array(data.preprocessing.mean), np.array(data.preprocessing.std)
    for split, x, y in (
        (data.train, X, Y),
        (data.validation, X[:6] + 1, Y[:6]),
        (data.test, X[::-1], Y[::-1]),
    ):
        np.testing.assert_allclose(split.x * std + mean, x, atol=1e-5)
        np.testing.assert_array_equal(split.y, y)
    assert data.class_labels == ("sit", "walk", "run")
    assert data.name == f"npz:{file}"


def test_compressed_files_and_one_channel(file):
    np.savez_compressed(file, x=X[:, :, 0].astype(np.float64), y=Y.astype(float))
    data = load_dataset(f"npz:{file}")
    assert data.train.x.shape[1:] == (8, 1)
    assert data.class_labels == ("0", "1", "2")


def test_tokens_stay_as_they_are(file):
    data = load(file, x=TOKENS.astype(np.uint8), y=Y, x_test=TOKENS, y_test=Y)
    assert (data.vocab_size, data.d_input, data.preprocessing.mean) == (7, None, ())
    assert data.test.x.dtype == np.int64
    np.testing.assert_array_equal(data.test.x, TOKENS)
    assert load(file, x=TOKENS, y=Y, vocab_size=30).vocab_size == 30


def test_token_padding_is_zero_and_may_hold_anything(file):
    x, lengths = TOKENS.copy(), np.full(30, 5)
    x[:, 5:] = -100
    data = load(file, x=x, y=Y, lengths=lengths)
    assert data.padded
    assert data.vocab_size == x.max() + 1
    assert not data.test.x[:, 5:].any()


def test_nan_in_the_padding_is_fine(file):
    x = X.copy()
    x[3, 6:] = np.nan
    data = load(file, x=x, y=Y, lengths=np.where(np.arange(30) == 3, 6, 8))
    assert np.isfinite(data.train.x).all()


def test_the_test_split_depends_on_test_seed_alone(file):
    np.savez(file, x=X, y=Y)
    first, other_run, other_test = (
        load_dataset(f"npz:{file}{text}", seed=seed) for text, seed in (("", 0), ("", 1), (":test_seed=1", 0))
    )
    np.testing.assert_array_equal(first.test.y, other_run.test.y)
    raw = [
        d.test.x * np.array(d.preprocessing.std) + d.preprocessing.mean
        for d in (first, other_run, other_test)
    ]
    np.testing.assert_allclose(raw[0], raw[1], atol=1e-5)
    assert not np.allclose(raw[0], raw[2], atol=1e-2)


def with_value(array, index, value):
    changed = array.astype(np.result_type(array, type(value)))
    changed[index] = value
    return changed


BAD_ARRAYS = {
    "no x": ({"y": Y}, "key 'x' is missing; expected keys x and y.*found y"),
    "no y": ({"x": X}, "key 'y' is missing"),
    "nothing": ({}, "key 'x' is missing.*found no keys"),
    "no y_test": ({"x": X, "y": Y, "x_test": X}, "key 'y_test' is missing"),
    "no x_validation": ({"x": X, "y": Y, "y_validation": Y}, "key 'x_validation' is missing"),
    "misspelt": ({"x": X, "y": Y, "X_test": X}, "key 'X_test' is not known.*x_test"),
    "lengths of the test split only": (
        {"x": X, "y": Y, "x_test": X, "y_test": Y, "lengths_test": Y + 1},
        "key 'lengths' is missing.*lengths for all splits or for none",
    ),
    "lengths of the training split only": (
        {"x": X, "y": Y, "x_test": X, "y_test": Y, "lengths": Y + 1},
        "key 'lengths_test' is missing",
    ),
    "NaN": (
        {"x": with_value(X, (4, 2, 1), np.nan), "y": Y},
        "key 'x', row 4, position 2, channel 1: the value is not a finite float32.*found nan",
    ),
    "infinity": (
        {"x": X, "y": Y, "x_test": with_value(X, (1, 0, 0), np.inf), "y_test": Y},
        "key 'x_test', row 1, position 0, channel 0: .*found inf",
    ),
    "beyond float32": (
        {"x": with_value(X.astype(float), (2, 0, 0), 1e39), "y": Y},
        "key 'x', row 2.*found 1e",
    ),
    "x of rank 1": ({"x": X[:, 0, 0], "y": Y}, r"key 'x' has the wrong rank or dtype.*found float32 \[30\]"),
    "x of rank 4": ({"x": X[..., None], "y": Y}, r"key 'x' has the wrong rank.*\[30, 8, 2, 1\]"),
    "tokens of rank 3": ({"x": TOKENS[..., None], "y": Y}, "key 'x' has the wrong rank.*int64"),
    "strings as x": ({"x": np.array([["a"]] * 30), "y": Y}, "key 'x' has the wrong rank or dtype"),
    "no rows": ({"x": X[:0], "y": Y[:0]}, "too few classes.*found none"),
    "no positions": ({"x": X[:, :0], "y": Y}, "key 'x' has the wrong rank or dtype.*none of them 0"),
    "y of rank 2": ({"x": X, "y": Y[:, None]}, r"key 'y' has the wrong rank.*found int64 \[30, 1\]"),
    "y of strings": ({"x": X, "y": Y.astype(str)}, "key 'y' has the wrong rank or dtype.*integers"),
    "negative label": ({"x": X, "y": with_value(Y, 7, -1)}, "key 'y', row 7: .*out of range.*found -1"),
    "label beyond the labels": (
        {"x": X, "y": with_value(Y, 9, 3), "class_labels": list("abc")},
        "key 'y', row 9: the value is out of range; expected 0 to 2; found 3",
    ),
    "test label never trained": (
        {"x": X, "y": Y, "x_test": X, "y_test": with_value(Y, 5, 3)},
        "key 'y_test', row 5: the value is out of range; expected 0 to 2; found 3",
    ),
    "fractional label": ({"x": X, "y": with_value(Y, 2, 0.5)}, "key 'y', row 2: .*not an integer.*found 0.5"),
    "NaN label": ({"x": X, "y": with_value(Y, 2, np.nan)}, "key 'y', row 2: .*not an integer.*found nan"),
    "infinite label": (
        {"x": X, "y": with_value(Y, 2, np.inf)},
        "key 'y', row 2: .*not an integer.*found inf",
    ),
    "a gap in the classes": ({"x": X, "y": np.where(Y == 1, 5, Y)}, "class '1' has no training row"),
    "classes from 1": ({"x": X, "y": Y + 1}, "class '0' has no training row.*number the classes from 0"),
    "a named class without rows": (
        {"x": X, "y": Y, "class_labels": list("abcd")},
        "class 'd' has no training row; expected at least one row for each of the 4 classes",
    ),
    "one class": ({"x": X, "y": Y * 0}, "too few classes.*at least two"),
    "repeated labels": ({"x": X, "y": Y, "class_labels": ["a", "b", "a"]}, "two of the same name.*a, b, a"),
    "labels of bytes": ({"x": X, "y": Y, "class_labels": [b"a", b"b", b"c"]}, "'class_labels'.*strings"),
    "fewer labels than rows": (
        {"x": X, "y": Y[:29]},
        "keys 'x' and 'y' have different numbers of rows; expected 30 in 'y', as in 'x'; found 29",
    ),
    "fewer lengths than rows": (
        {"x": X, "y": Y, "lengths": Y[:9] + 1},
        "keys 'x' and 'lengths' have different",
    ),
    "a length of 0": (
        {"x": X, "y": Y, "lengths": with_value(Y + 1, 6, 0)},
        "key 'lengths', row 6.*1 to 8.*found 0",
    ),
    "a length beyond L": (
        {"x": X, "y": Y, "lengths": with_value(Y + 1, 3, 9)},
        "key 'lengths', row 3.*found 9",
    ),
    "another length of x_test": (
        {"x": X, "y": Y, "x_test": X[:, :5], "y_test": Y},
        r"key 'x_test' does not match 'x'; expected float32 \['n', 8, 2\]; found float32 \[30, 5, 2\]",
    ),
    "tokens beside floats": (
        {"x": X[:, :, 0], "y": Y, "x_test": TOKENS, "y_test": Y},
        "key 'x_test' does not match 'x'",
    ),
    "negative token": (
        {"x": with_value(TOKENS, (8, 1), -2), "y": Y},
        "key 'x', row 8, position 1: .*found -2",
    ),
    "token beyond the vocabulary": (
        {"x": TOKENS % 5, "y": Y, "x_test": with_value(TOKENS % 5, (2, 3), 5), "y_test": Y, "vocab_size": 5},
        "key 'x_test', row 2, position 3: the value is out of range; expected 0 to 4; found 5",
    ),
    "vocabulary of a signal": (
        {"x": X, "y": Y, "vocab_size": 5},
        "key 'vocab_size' does not fit.*'x' of float32",
    ),
    "vocabulary of 0": ({"x": TOKENS, "y": Y, "vocab_size": 0}, "key 'vocab_size' does not fit"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_name_file_key_and_row(file, case):
    arrays, message = BAD_ARRAYS[case]
    with pytest.raises(DataError, match=message) as error:
        load(file, **arrays)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder(file):
    with pytest.raises(DataError, match=r"mine.npz: cannot be read.*no such file"):
        load_dataset(f"npz:{file}")
    with pytest.raises(DataError, match="found a folder"):
        load_dataset(f"npz:{file.parent}")


@pytest.mark.parametrize("content", [b"", b"not an npz", b"\x80\x04N.", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_npz(file, content):
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"mine.npz: not an npz file, or a truncated one"):
        load_dataset(f"npz:{file}")


def test_a_single_array_is_no_npz(tmp_path):
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(DataError, match=r"not an npz file.*numpy.savez"):
        load_dataset(f"npz:{tmp_path / 'x.npy'}")


def test_a_truncated_file_at_any_place(file):
    np.savez_compressed(file, x=X, y=Y)
    content = file.read_bytes()
    for size in range(0, len(content), max(1, len(content) // 40)):
        file.write_bytes(content[:size])
        with pytest.raises(DataError, match=r"mine.npz: "):
            load_dataset(f"npz:{file}")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_flipped_bytes_never_end_in_another_error(file, save):
    save(file, x=X, y=Y)
    content = bytearray(file.read_bytes())
    for place in range(0, len(content), max(1, len(content) // 150)):
        damaged = content.copy()
        damaged[place] ^= 0xFF
        file.write_bytes(damaged)
        try:
            load_dataset(f"npz:{file}")
        except DataError as error:
            assert str(error).startswith(f"{file}: ")  # noqa: PT017 - some places (dates) hurt nobody


def test_pickled_objects_are_refused(file):
    ragged = np.array([np.zeros(3), np.zeros(4)], dtype=object)
    with pytest.raises(DataError, match=r"mine.npz: key 'x' cannot be read.*not of Python objects.*lengths"):
        load(file, x=ragged, y=Y)


def test_a_zip_of_something_else(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x", "text")
    with pytest.raises(DataError, match="member 'x' is not an array"):
        load_dataset(f"npz:{file}")
