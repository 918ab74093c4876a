"""MATLAB's files: what SciPy writes is read, and what is damaged refused."""

import struct

import numpy as np
import pytest
from scipy.io import savemat

from datasets.matlab import struct_field

PIXELS = np.random.default_rng(0).integers(0, 21, (7, 5), np.uint8)


def file_of(tmp_path, values: np.ndarray = PIXELS, compressed: bool = False) -> bytes:
    content = {"CategoriesPresent": np.unique(values), "Segmentation": values, "Boundaries": np.zeros((0, 0))}
    savemat(tmp_path / "a.mat", {"before": np.arange(3), "GTcls": content}, do_compression=compressed)
    return (tmp_path / "a.mat").read_bytes()


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_what_scipy_writes_is_read(tmp_path, compressed, dtype):
    found = struct_field(file_of(tmp_path, PIXELS.astype(dtype), compressed), "GTcls", "Segmentation")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, PIXELS)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (4, 1), (2, 3, 4)])
def test_arrays_of_every_shape_are_read(tmp_path, shape):
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    np.testing.assert_array_equal(struct_field(file_of(tmp_path, values), "GTcls", "Segmentation"), values)


def test_values_may_be_stored_in_fewer_bytes_than_they_have(tmp_path):
    data = bytearray(file_of(tmp_path, PIXELS))
    place = data.index(PIXELS.tobytes(order="F"))
    kind = data.rindex(struct.pack("<I", 9), 0, place)  # of the array's class: uint8 becomes double, stored as uint8
    data[kind : kind + 4] = struct.pack("<I", 6)
    found = struct_field(bytes(data), "GTcls", "Segmentation")
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, PIXELS)


@pytest.mark.parametrize("names", [("GTinst", "Segmentation"), ("GTcls", "Pixels")])
def test_what_is_not_in_a_file_is_named(tmp_path, names):
    missing = "GTinst" if names[0] == "GTinst" else "Pixels"
    with pytest.raises(KeyError, match=missing):
        struct_field(file_of(tmp_path), *names)


def test_an_array_is_no_structure(tmp_path):
    with pytest.raises(ValueError, match="before is no structure"):
        struct_field(file_of(tmp_path), "before", "Segmentation")


@pytest.mark.parametrize("compressed", [True, False])
def test_a_file_that_breaks_off_is_refused(tmp_path, compressed):
    data = file_of(tmp_path, PIXELS, compressed)
    with pytest.raises(ValueError, match="it breaks off"):
        struct_field(data[:-20], "GTcls", "Segmentation")
