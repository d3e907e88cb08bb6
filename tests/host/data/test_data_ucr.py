"""The archives' sets through aeon: bundled ones offline, every failure a clear error."""

from __future__ import annotations

import numpy as np
import pytest

from edge_s4op.errors import DataError, UnknownNameError
from host.data.dataset import load_dataset


def published(name, **options):
    from aeon.datasets import load_classification  # slow: not while tests are collected

    return load_classification(name, **options)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Every HTTP request of this process goes to a port where nothing listens."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("name", "train", "validation", "test", "length", "channels", "classes"),
    [
        ("GunPoint", 40, 10, 150, 150, 1, 2),
        ("ArrowHead", 30, 6, 175, 251, 1, 3),
        ("BasicMotions", 32, 8, 40, 100, 6, 4),
        ("OSULeaf", 159, 41, 242, 427, 1, 6),
        ("ItalyPowerDemand", 53, 14, 1029, 24, 1, 2),
    ],
)
def test_bundled_sets_load_offline(name, train, validation, test, length, channels, classes):
    data = load_dataset(f"ucr:{name}")
    assert data.train.x.shape == (train, length, channels)
    assert data.validation.x.shape == (validation, length, channels)
    assert data.test.x.shape == (test, length, channels)
    assert (data.seq_len, data.d_input, data.num_classes) == (length, channels, classes)
    assert (data.name, data.vocab_size, data.padded) == (f"ucr:{name}", None, False)
    assert set(data.train.y) == set(data.validation.y) == set(data.test.y) == set(range(classes))


def test_aeons_train_and_test_splits_are_kept_in_place():
    data = load_dataset("ucr:BasicMotions", seed=5)
    x, y = published("BasicMotions", split="test")
    raw = data.test.x * np.float32(data.preprocessing.std) + np.float32(data.preprocessing.mean)
    np.testing.assert_allclose(raw.transpose(0, 2, 1), x, atol=1e-4)
    assert [data.class_labels[i] for i in data.test.y] == y.tolist()
    own = published("BasicMotions", split="train")[0].sum(axis=(1, 2))
    held = np.concatenate([data.train.x, data.validation.x])
    raw = held * np.float32(data.preprocessing.std) + np.float32(data.preprocessing.mean)
    np.testing.assert_allclose(np.sort(raw.sum(axis=(1, 2))), np.sort(own), atol=0.05)


def test_sets_of_unequal_length_are_padded_with_lengths():
    data = load_dataset("ucr:JapaneseVowels")
    assert data.padded
    assert (data.seq_len, data.d_input, data.num_classes) == (29, 12, 9)
    x, _ = published("JapaneseVowels", split="test", load_equal_length=False)
    assert data.test.lengths.tolist() == [case.shape[1] for case in x]
    row = int(data.test.lengths.argmin())
    real = (x[row].T - data.preprocessing.mean) / data.preprocessing.std
    np.testing.assert_allclose(data.test.x[row, : len(real)], real, atol=1e-5)
    assert not data.test.x[row, len(real) :].any()


def test_class_labels_that_are_numbers_are_in_numeric_order():
    assert load_dataset("ucr:PickupGestureWiimoteZ").class_labels == tuple(map(str, range(1, 11)))


def test_an_unknown_name_offers_near_names():
    with pytest.raises(UnknownNameError, match=r"unknown UCR/UEA dataset 'Gunpoint'.*did you mean GunPoint"):
        load_dataset("ucr:Gunpoint")
    with pytest.raises(UnknownNameError):
        load_dataset("ucr:../GunPoint")


def test_a_known_set_that_cannot_be_downloaded_says_how_to_get_it(tmp_path):
    with pytest.raises(
        DataError, match=r"ucr:Beef: the train split can neither be read nor downloaded"
    ) as error:
        load_dataset("ucr:Beef", options={"folder": str(tmp_path)})
    assert "Beef_TRAIN.ts and Beef_TEST.ts into FOLDER/Beef" in str(error.value)
    assert "\n" not in str(error.value)


def write_ts(folder, name, train, test, equal=True, channels=1):
    header = (
        f"@problemName {name}\n@timeStamps false\n@univariate {str(channels == 1).lower()}\n"
        f"@equalLength {str(equal).lower()}\n@classLabel true a b\n@data\n"
    )
    (folder / name).mkdir()
    for split, rows in (("TRAIN", train), ("TEST", test)):
        (folder / name / f"{name}_{split}.ts").write_text(header + "\n".join(rows) + "\n")
    return f"ucr:{name}:folder={folder}"


ROWS = ("1,2,3:a", "2,3,4:b", "3,4,5:a", "4,5,6:b")


def test_files_in_a_folder_are_read_from_there(tmp_path):
    data = load_dataset(write_ts(tmp_path, "Mine", ROWS, ROWS[:2]), validation_fraction=0.5)
    assert (len(data.train), len(data.validation), len(data.test)) == (2, 2, 2)
    assert data.class_labels == ("a", "b")


def test_only_test_rows_shorter_still_means_padded(tmp_path):
    data = load_dataset(write_ts(tmp_path, "Mine", ROWS, ["1,2:a", "2,3,4:b"], equal=False))
    assert data.padded
    assert data.train.lengths.tolist() == [3, 3]
    assert data.test.lengths.tolist() == [2, 3]


@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_values_are_named(tmp_path, split):
    broken = [*ROWS[:2], "3,?,5:a", ROWS[3]]
    rows = (broken, ROWS) if split == "train" else (ROWS, broken)
    message = f"ucr:Mine, {split} split: missing value in row 2, channel 0, position 1.*impute"
    with pytest.raises(DataError, match=message):
        load_dataset(write_ts(tmp_path, "Mine", *rows))


def test_a_test_class_never_trained_is_an_error(tmp_path):
    spec = write_ts(tmp_path, "Mine", ROWS, ["1,2,3:c"])
    with pytest.raises(
        DataError, match="class 'c' of the test split has no training row; expected classes a, b"
    ):
        load_dataset(spec)


def test_a_torn_file_is_a_data_error(tmp_path):
    spec = write_ts(tmp_path, "Mine", ["1,2,3:a", "2,3"], ROWS)
    with pytest.raises(DataError, match="ucr:Mine: the train split can neither be read"):
        load_dataset(spec)


def test_an_empty_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="ucr:Mine: the test split is empty"):
        load_dataset(write_ts(tmp_path, "Mine", ROWS, []))
