"""CAM dicts: exchanged with other tools, and never executed."""

import os
import pickle
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from utils.cams.files import read_cam_dict, write_cam_dict
from utils.errors import InputError


class Bomb:
    """Creates a file where it is unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


class Unpicklable:
    """Fails while it is made an array."""

    def __array__(self, *args, **kwargs):
        raise RuntimeError("no way")


def cams() -> dict[int, np.ndarray]:
    rng = np.random.default_rng(0)
    return {c: rng.random((4, 6), np.float32) for c in (11, 2)}


def save(path: Path, content: object) -> Path:
    np.save(path, content, allow_pickle=True)
    return path


def save_with_protocol(path: Path, content: object, protocol: int, old_core: bool = False) -> Path:
    """An `.npy` as NumPy writes it, with another pickle protocol, and with the module names of NumPy 1 where asked."""
    file = BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    body = pickle.dumps(np.array(content, dtype=object), protocol=protocol)
    if old_core:
        assert b"numpy._core" in body
        body = body.replace(b"numpy._core", b"numpy.core")
    path.write_bytes(file.getvalue() + body)
    return path


def assert_equal_cams(found: dict, expected: dict) -> None:
    assert list(found) == sorted(expected)
    for c, cam in found.items():
        np.testing.assert_array_equal(cam, expected[c])


def test_what_is_written_is_read(tmp_path):
    write_cam_dict(tmp_path / "a.npy", cams())
    assert_equal_cams(read_cam_dict(tmp_path / "a.npy"), cams())


def test_files_of_other_tools_are_read(tmp_path):
    assert_equal_cams(read_cam_dict(save(tmp_path / "a.npy", cams())), cams())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_files_of_every_pickle_protocol_are_read(tmp_path, protocol):
    assert_equal_cams(read_cam_dict(save_with_protocol(tmp_path / "a.npy", cams(), protocol)), cams())


def test_files_written_under_numpy_1_are_read(tmp_path):
    assert_equal_cams(read_cam_dict(save_with_protocol(tmp_path / "a.npy", cams(), 2, old_core=True)), cams())


def test_other_tools_read_what_is_written(tmp_path):
    write_cam_dict(tmp_path / "a.npy", cams())
    content = np.load(tmp_path / "a.npy", allow_pickle=True).item()
    assert isinstance(content, dict)
    assert_equal_cams(dict(sorted(content.items())), cams())


def test_written_keys_and_maps_are_of_plain_types(tmp_path):
    write_cam_dict(tmp_path / "a.npy", {np.int64(3): np.ones((2, 2), np.float64)})
    ((key, cam),) = np.load(tmp_path / "a.npy", allow_pickle=True).item().items()
    assert (type(key), cam.dtype) == (int, np.float32)


def test_an_image_without_classes_is_an_empty_dict(tmp_path):
    write_cam_dict(tmp_path / "a.npy", {})
    assert read_cam_dict(tmp_path / "a.npy", (4, 6), 20) == {}


def test_classes_are_read_in_ascending_order(tmp_path):
    write_cam_dict(tmp_path / "a.npy", cams())
    assert list(read_cam_dict(tmp_path / "a.npy")) == [2, 11]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.uint8, np.int64])
def test_maps_of_any_number_type_become_float32(tmp_path, dtype):
    cam = read_cam_dict(save(tmp_path / "a.npy", {0: np.array([[0, 1], [2, 3]], dtype)}))[0]
    assert cam.dtype == np.float32
    assert cam.tolist() == [[0, 1], [2, 3]]


def test_numpy_integers_are_class_indices(tmp_path):
    found = read_cam_dict(save(tmp_path / "a.npy", {np.int64(3): np.zeros((2, 2), np.float32)}))
    assert [type(c) for c in found] == [int]


def test_maps_in_fortran_order_are_read(tmp_path):
    found = read_cam_dict(save(tmp_path / "a.npy", {5: np.asfortranarray([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])}))
    assert found[5].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_writing_leaves_nothing_but_the_file(tmp_path):
    write_cam_dict(tmp_path / "a.npy", cams())
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


def test_a_failure_while_writing_leaves_the_old_file_intact(tmp_path):
    write_cam_dict(tmp_path / "a.npy", cams())
    with pytest.raises(RuntimeError, match="no way"):
        write_cam_dict(tmp_path / "a.npy", {2: Unpicklable()})
    assert_equal_cams(read_cam_dict(tmp_path / "a.npy"), cams())


@pytest.mark.parametrize("content", ["alone", "value", "key", "array"])
def test_code_in_a_file_is_refused_by_name(tmp_path, content):
    bomb = Bomb(tmp_path / "ran")
    wrapped = {"alone": bomb, "value": {1: bomb}, "key": {bomb: 1}, "array": {1: np.array([bomb], dtype=object)}}[content]
    with pytest.raises(InputError, match=r"evil\.npy is no CAM dict: it refers to .*mkdir"):
        read_cam_dict(save(tmp_path / "evil.npy", wrapped))


def test_code_in_a_file_does_not_run(tmp_path):
    with pytest.raises(InputError):
        read_cam_dict(save(tmp_path / "evil.npy", {1: Bomb(tmp_path / "ran")}))
    assert not (tmp_path / "ran").exists()


def test_the_bomb_of_these_tests_would_go_off_in_numpy(tmp_path):
    np.load(save(tmp_path / "evil.npy", {1: Bomb(tmp_path / "ran")}), allow_pickle=True)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["builtins eval", "os system", "numpy load", "numpy.core.multiarray fromfile"])
def test_names_that_no_array_refers_to_are_refused(tmp_path, name):
    file = BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    module, function = name.split()
    (tmp_path / "a.npy").write_bytes(file.getvalue() + f"c{module}\n{function}\n.".encode())
    with pytest.raises(InputError, match=rf"a\.npy is no CAM dict: it refers to {module}\.{function}"):
        read_cam_dict(tmp_path / "a.npy")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.npy is missing"):
        read_cam_dict(tmp_path / "gone.npy")


@pytest.mark.parametrize("share", [0, 0.02, 0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused_by_name(tmp_path, share):
    write_cam_dict(tmp_path / "a.npy", cams())
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"a\.npy is no CAM dict"):
        read_cam_dict(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "content",
    [np.zeros((4, 6), np.float32), [np.zeros((4, 6))], np.array([{1: 2}, {3: 4}], dtype=object), "text", None],
    ids=["array", "list", "two dicts", "string", "none"],
)
def test_anything_but_a_dict_is_refused_by_name(tmp_path, content):
    with pytest.raises(InputError, match=r"a\.npy is no CAM dict: it holds"):
        read_cam_dict(save(tmp_path / "a.npy", content))


@pytest.mark.parametrize("key", [-1, 20, "cat", 1.0, None])
def test_a_key_that_is_no_class_index_is_refused(tmp_path, key):
    path = save(tmp_path / "a.npy", {key: np.zeros((4, 6), np.float32)})
    with pytest.raises(InputError, match=rf"a\.npy: {key!r} is no class index below 20"):
        read_cam_dict(path, num_classes=20)


def test_class_indices_are_only_bounded_where_asked(tmp_path):
    assert list(read_cam_dict(save(tmp_path / "a.npy", {79: np.zeros((4, 6), np.float32)}))) == [79]


def test_a_map_of_another_size_than_the_image_is_refused(tmp_path):
    write_cam_dict(tmp_path / "a.npy", cams())
    with pytest.raises(InputError, match=r"a\.npy: class \d+ is \(4, 6\), not \(6, 4\)"):
        read_cam_dict(tmp_path / "a.npy", (6, 4))


@pytest.mark.parametrize(
    "value",
    [np.zeros((1, 4, 6)), 3.0, np.array([["a", "b"]]), np.array([[1j]]), np.array([[True]]), np.array([[None]])],
    ids=["3-d", "number", "strings", "complex", "bool", "objects"],
)
def test_a_value_that_is_no_map_of_numbers_is_refused(tmp_path, value):
    with pytest.raises(InputError, match=r"a\.npy: class 4 is no \(H, W\) array of numbers"):
        read_cam_dict(save(tmp_path / "a.npy", {4: value}))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    cam = np.zeros((4, 6), np.float32)
    cam[2, 3] = value
    with pytest.raises(InputError, match=r"a\.npy: class 4 has values that are not finite"):
        read_cam_dict(save(tmp_path / "a.npy", {4: cam}))


MAP = np.zeros((2, 2))


@pytest.mark.parametrize("content", [{1: MAP, "x": MAP}, {1: [[1], [1, 2]]}, {True: MAP}])
def test_keys_and_values_of_other_kinds_are_refused_by_name(tmp_path, content):
    np.save(tmp_path / "a.npy", content, allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy: "):
        read_cam_dict(tmp_path / "a.npy")
