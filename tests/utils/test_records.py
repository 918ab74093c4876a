"""Records of what a folder's files were made with."""

import shutil

import pytest

from utils.errors import InputError
from utils.records import claim, claim_file, differing, digest_of, digest_of_all, made_with, place

SETTINGS = {"weights": "a", "size": 3}


def test_the_same_settings_may_go_on(tmp_path):
    for _ in range(2):
        claim(tmp_path / "dict", SETTINGS, "*.npy", "")
    assert made_with(tmp_path / "dict", tmp_path) == SETTINGS


def test_other_settings_are_refused_with_what_differs(tmp_path):
    claim(tmp_path / "dict", SETTINGS, "*.npy", "")
    with pytest.raises(InputError, match=r"dict was made with size 3, not 4; weights 'a', not None\. Way out"):
        claim(tmp_path / "dict", {"size": 4}, "*.npy", "Way out")
    assert made_with(tmp_path / "dict", tmp_path) == SETTINGS


def test_files_without_a_record_are_not_added_to(tmp_path):
    (tmp_path / "a.npy").touch()
    with pytest.raises(InputError, match="holds files from elsewhere"):
        claim(tmp_path, SETTINGS, "*.npy", "")
    claim(tmp_path, SETTINGS, "*.png", "")


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000])
def test_a_damaged_record_is_refused_by_name(tmp_path, text):
    claim_file(tmp_path / "dict").write_text(text)
    with pytest.raises(InputError, match=r"dict\.made_with\.json cannot be read|dict was made with something else"):
        claim(tmp_path / "dict", SETTINGS, "*.npy", "")
    with pytest.raises(InputError, match=r"dict\.made_with\.json cannot be read"):
        made_with(tmp_path / "dict", tmp_path)


def test_a_place_is_the_same_after_its_project_or_only_the_folder_was_moved(tmp_path):
    data, folder = tmp_path / "one" / "data", tmp_path / "one" / "run"
    data.mkdir(parents=True)
    before = {"data": place(data, folder)}
    assert not differing(before, {"data": place(data, tmp_path / "elsewhere" / "far" / "run")})
    shutil.move(tmp_path / "one", tmp_path / "two")
    assert not differing(before, {"data": place(tmp_path / "two" / "data", tmp_path / "two" / "run")})
    assert differing(before, {"data": place(tmp_path / "two", tmp_path / "two" / "run")}) == ["data"]


def test_a_folder_of_another_tool_is_known_by_its_place(tmp_path):
    assert made_with(tmp_path / "dict", tmp_path) == {"files": place(tmp_path / "dict", tmp_path)}


def test_digests_follow_the_contents(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("x")
    other.write_text("x")
    assert digest_of(one, "") == digest_of(other, "")
    assert digest_of_all([one, other]) == digest_of_all([other, one])
    other.write_text("y")
    assert digest_of(one, "") != digest_of(other, "")
    assert digest_of_all([one, other]) != digest_of_all([other, one])


def test_missing_weights_are_named_with_the_hint(tmp_path):
    with pytest.raises(InputError, match=r"net\.pth is missing\. Train first"):
        digest_of(tmp_path / "net.pth", "Train first")
