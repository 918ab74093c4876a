"""Files inside tar archives: found by their headers, read by their place, refused where the archive is damaged."""

import tarfile
from pathlib import Path

import pytest

from tests.helpers.shards import write_tar
from utils.errors import InputError
from utils.files import state_of
from utils.tar_members import archive_of, is_shard, member_path, members, readable


@pytest.fixture
def archive(tmp_path) -> Path:
    return write_tar(tmp_path / "a-00000.tar", {"one.txt": b"first", "deep/two.txt": b"second" * 200, "empty": b""})


def test_each_file_is_read_from_its_path(archive):
    contents = {member.name: readable(member_path(archive, member)).read() for member in members(archive)}
    assert contents == {"one.txt": b"first", "deep/two.txt": b"second" * 200, "empty": b""}


def test_a_path_ends_with_the_name_of_its_file(archive):
    _, second, _ = members(archive)
    path = member_path(archive, second)
    assert (path.name, path.stem, path.suffix) == ("two.txt", "two", ".txt")
    assert archive_of(path) == str(archive)


def test_a_file_is_as_old_as_its_archive(archive):
    first, *_ = members(archive)
    assert state_of(member_path(archive, first)) == state_of(archive)


def test_ordinary_paths_stay_as_they_are(tmp_path):
    path = tmp_path / "a.tar#1+2.jpg"
    assert readable(path) == path
    assert archive_of(path) == str(path)


def test_folders_and_links_are_no_files(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("folder", tarfile.DIRTYPE), ("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            tar.addfile(entry)
    assert list(members(path)) == []


@pytest.mark.parametrize("kept", [300, 600, 1024, 1200, 1600, 3584])
def test_an_archive_that_is_cut_off_is_refused(archive, kept):
    archive.write_bytes(archive.read_bytes()[:kept])
    with pytest.raises(InputError, match=f"{archive.name} is (cut off|no uncompressed tar archive)"):
        list(members(archive))


def test_archives_one_after_another_in_a_file_are_refused(archive):
    archive.write_bytes(2 * archive.read_bytes())
    with pytest.raises(InputError, match="is cut off or damaged"):
        list(members(archive))


def test_a_compressed_archive_is_refused(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"one": b"first"}, "w:gz")
    with pytest.raises(InputError, match=r"a\.tar is no uncompressed tar archive"):
        list(members(path))


def test_an_archive_that_became_shorter_is_an_error(archive):
    _, second, _ = members(archive)
    archive.write_bytes(archive.read_bytes()[:1600])
    with pytest.raises(OSError, match="ends before it"):
        readable(member_path(archive, second))


@pytest.mark.parametrize(
    ("name", "fits"),
    [("00000.tar", True), ("train-000012.tar", True), ("VOCtrainval_11-May-2012.tar", False), ("train-00001.tar.gz", False)],
)
def test_shards_are_told_by_their_names(name, fits):
    assert is_shard(name) == fits
