"""Splits are disjoint, stratified and seeded; statistics come from the training split alone."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from edge_s4op.errors import DataError, UnknownNameError, UsageError
from host.data import dataset as dataset_module
from host.data.dataset import Dataset, load_dataset
from host.data.holdout import stratified_holdout
from host.data.values import RawDataset, Split


def save(path, **arrays):
    np.savez(path, **arrays)
    return f"npz:{path}"


def numbered_rows(n=60, classes=3, length=5, channels=2, seed=0):
    """Rows one can recognise after normalisation: the first value of each is its number."""
    x = np.random.default_rng(seed).normal(3.0, 2.0, size=(n, length, channels))
    x[:, 0, 0] = np.arange(n)
    return x, np.arange(n) % classes


def numbers_of(data: Dataset, split: Split) -> set[int]:
    first = split.x[:, 0, 0] * data.preprocessing.std[0] + data.preprocessing.mean[0]
    return set(np.rint(first).astype(int).tolist())


def test_the_three_splits_are_disjoint_and_complete(tmp_path):
    x, y = numbered_rows()
    data = load_dataset(save(tmp_path / "a.npz", x=x, y=y))
    parts = [numbers_of(data, split) for split in (data.train, data.validation, data.test)]
    assert [len(part) for part in parts] == [
        39,
        9,
        12,
    ]  # of 20 rows a class: 4 for test, 3 of the other 16 for validation
    assert set.union(*parts) == set(range(60))


def test_every_split_has_every_class_in_proportion(tmp_path):
    x, _ = numbered_rows(n=100)
    y = np.repeat([0, 1], [80, 20])
    data = load_dataset(save(tmp_path / "a.npz", x=x, y=y), validation_fraction=0.25)
    counts = [np.bincount(split.y).tolist() for split in (data.train, data.validation, data.test)]
    assert counts == [[48, 12], [16, 4], [16, 4]]


def test_rows_keep_their_class(tmp_path):
    x, y = numbered_rows()
    data = load_dataset(save(tmp_path / "a.npz", x=x, y=y))
    for split in (data.train, data.validation, data.test):
        first = split.x[:, 0, 0] * data.preprocessing.std[0] + data.preprocessing.mean[0]
        np.testing.assert_array_equal(np.rint(first).astype(int) % 3, split.y)


def test_the_seed_moves_validation_rows_and_never_test_rows(tmp_path):
    x, y = numbered_rows()
    spec = save(tmp_path / "a.npz", x=x, y=y)
    first, again, other = (load_dataset(spec, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.train.x, again.train.x)
    np.testing.assert_array_equal(first.validation.x, again.validation.x)
    assert numbers_of(first, first.validation) != numbers_of(other, other.validation)
    assert numbers_of(first, first.test) == numbers_of(other, other.test)


def test_another_fraction_leaves_the_test_rows_alone(tmp_path):
    x, y = numbered_rows()
    spec = save(tmp_path / "a.npz", x=x, y=y)
    few, many = (load_dataset(spec, validation_fraction=fraction) for fraction in (0.1, 0.5))
    assert len(few.validation) < len(many.validation)
    assert numbers_of(few, few.test) == numbers_of(many, many.test)


def test_statistics_are_those_of_the_training_rows_only(tmp_path):
    x, y = numbered_rows()
    data = load_dataset(save(tmp_path / "a.npz", x=x, y=y, x_test=x + 1e3, y_test=y))
    train = x[sorted(numbers_of(data, data.train))]
    np.testing.assert_allclose(data.preprocessing.mean, train.mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(data.preprocessing.std, train.std(axis=(0, 1)), rtol=1e-12)
    assert not np.allclose(data.preprocessing.mean, x.mean(axis=(0, 1)), rtol=1e-4)
    np.testing.assert_allclose(data.train.x.mean(axis=(0, 1)), 0, atol=1e-6)
    np.testing.assert_allclose(data.train.x.std(axis=(0, 1)), 1, atol=1e-6)


def test_values_of_validation_and_test_do_not_enter_the_statistics(tmp_path):
    x, y = numbered_rows()
    given = {"x": x, "y": y, "y_validation": y, "y_test": y}
    near = load_dataset(save(tmp_path / "a.npz", **given, x_validation=x, x_test=x))
    far = load_dataset(save(tmp_path / "b.npz", **given, x_validation=x * 50, x_test=x - 900))
    assert near.preprocessing == far.preprocessing
    expected = (x - 900 - far.preprocessing.mean) / far.preprocessing.std
    np.testing.assert_allclose(far.test.x, expected, rtol=1e-5)


def test_padding_is_zero_and_outside_the_statistics(tmp_path):
    x, y = numbered_rows(length=6)
    lengths = np.random.default_rng(1).integers(1, 6, size=len(x))
    outside = np.arange(6) >= lengths[:, None]
    x[outside] = 1e6
    data = load_dataset(save(tmp_path / "a.npz", x=x, y=y, lengths=lengths))
    assert data.padded
    for split in (data.train, data.validation, data.test):
        padding = np.arange(6) >= split.lengths[:, None]
        assert padding.any()
        assert not split.x[padding].any()
        assert np.abs(split.x).max() < 10
    rows = sorted(numbers_of(data, data.train))
    real = x[rows][~outside[rows]]
    np.testing.assert_allclose(data.preprocessing.mean, real.mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7e4])
def test_a_constant_channel_has_std_one_and_becomes_zero(tmp_path, constant):
    x, y = numbered_rows()
    x[:, :, 1] = constant
    data = load_dataset(save(tmp_path / "a.npz", x=x, y=y))
    assert data.preprocessing.std[1] == 1.0
    np.testing.assert_allclose(data.train.x[:, :, 1], 0, atol=1e-6)


def test_the_splits_are_float32_and_int64(tmp_path):
    x, y = numbered_rows()
    data = load_dataset(save(tmp_path / "a.npz", x=x, y=y.astype(np.uint8)))
    assert (data.train.x.dtype, data.train.y.dtype) == (np.float32, np.int64)
    assert (data.seq_len, data.d_input, data.vocab_size, data.num_classes) == (5, 2, None, 3)
    assert not data.padded
    assert data.train.lengths is None


def test_small_classes_are_shared_as_far_as_they_go():
    y = np.array([0] * 20 + [1, 1] + [2])
    kept, held_out = stratified_holdout(y, 0.2, seed=0)
    assert np.bincount(y[held_out], minlength=3).tolist() == [4, 1, 0]
    assert np.bincount(y[kept]).tolist() == [16, 1, 1]
    assert sorted([*kept, *held_out]) == list(range(23))


def test_holding_out_never_empties_a_class():
    kept, _ = stratified_holdout(np.array([0, 0, 0, 1, 1]), 0.99, seed=3)
    assert np.bincount(np.array([0, 0, 0, 1, 1])[kept]).tolist() == [1, 1]


def test_nothing_to_hold_out_is_an_error():
    with pytest.raises(DataError, match=r"no validation split .* 3 training row.*at least two rows"):
        stratified_holdout(np.arange(3), 0.2, seed=0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_out_of_range_is_a_usage_error(fraction):
    with pytest.raises(UsageError, match=r"validation fraction .*within \(0, 1\); found"):
        load_dataset("ucr:GunPoint", validation_fraction=fraction)


def test_a_negative_seed_is_a_usage_error():
    with pytest.raises(UsageError, match="seed is negative"):
        load_dataset("ucr:GunPoint", seed=-1)


def test_an_unknown_kind_offers_near_names():
    with pytest.raises(UnknownNameError, match=r"unknown dataset 'listop'.*did you mean listops"):
        load_dataset("listop")


def test_a_new_dataset_is_one_function_and_one_line(monkeypatch):
    def load_mine(name, options):
        x, y = numbered_rows(n=int(options["rows"]))
        return RawDataset(Split(x, y, None), None, Split(x, y, None), ("a", "b", name))

    monkeypatch.setitem(dataset_module.LOADERS, "mine", load_mine)
    data = load_dataset("mine:c:rows=30", options={"extra": 1})
    assert (data.name, len(data.test), data.class_labels) == ("mine:c:extra=1,rows=30", 30, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("listops:max_depth=5,x", {}, "malformed option 'x'; expected KEY=VALUE"),
        ("listops:max_depth=", {}, "malformed option 'max_depth='"),
        ("listops:max_depth=5,max_depth=6", {}, "option 'max_depth' is given twice"),
        ("listops:max_depth=5", {"max_depth": 5}, "option 'max_depth' is given twice"),
        ("listops:max_depth=five", {}, "option 'max_depth'.*integer.*found max_depth=five"),
        ("listops:max_depth=1", {}, "option 'max_depth'.*greater than or equal to 2"),
        ("listops:depth=5", {}, r"option 'depth': is not known; expected options max_depth \(default 10\)"),
        ("listops", {"depth": 5}, "option 'depth': is not known"),
        ("listops:min_length=9,max_length=10", {}, "no length lies strictly between"),
        ("listops:5", {}, "takes no name, only options; found '5'"),
        ("ucr:GunPoint:a=1", {}, "option 'a': is not known; expected options folder"),
        ("npz:x.npz:test_fraction=2", {}, "option 'test_fraction'.*less than 1.*found test_fraction=2"),
        ("npz", {}, "'npz' needs a path"),
    ],
)
def test_malformed_options_say_what_is_allowed(spec, options, message):
    with pytest.raises(UsageError, match=message):
        load_dataset(spec, options=options)


def test_a_path_may_hold_colons_and_equals_signs(tmp_path):
    x, y = numbered_rows()
    folder = tmp_path / "a=1:b"
    folder.mkdir()
    spec = save(folder / "c.npz", x=x, y=y)
    data = load_dataset(f"{spec}:test_fraction=0.5")
    assert len(data.test) == 30
    assert data.name == f"{spec}:test_fraction=0.5"
    assert len(load_dataset(spec).test) == 12


def test_loading_other_data_does_not_import_aeon():
    code = (
        "import sys; from host.data.dataset import load_dataset as load;"
        "load('listops:max_length=40,n_train=9,n_validation=9,n_test=9');"
        "assert not {'aeon', 'numba', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
