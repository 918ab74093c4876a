"""Folders with a file for each image: what is removed when labels change."""

import json

import numpy as np
import pytest

from utils.cams.folders import labels_file, note_of_other_weights, remove_of_other_labels
from utils.errors import InputError

IDS = ["a", "b"]
LABELS = np.array([[True, False, True], [False, True, False]])


def update(folder, ids=IDS, labels=LABELS) -> list[tuple[str, list[int]]]:
    """Calls the function, and returns the images and former classes that it asks file names for."""
    asked = []
    remove_of_other_labels(folder, ids, labels, lambda *image: asked.append(image) or [f"{image[0]}.npy"])
    return asked


def test_files_of_changed_labels_are_removed_and_all_others_stay(tmp_path):
    folder = tmp_path / "dict"
    folder.mkdir()
    for image_id in IDS:
        (folder / f"{image_id}.npy").touch()
    assert update(folder) == update(folder) == []
    assert update(folder, ["b", "c"], np.array([[True, True, False], [False, False, False]])) == [("b", [1])]
    assert [path.name for path in folder.iterdir()] == ["a.npy"]
    assert update(folder) == [("b", [0, 1])]


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 3}', '{"a": "no digits"}', "\xff"])
def test_a_damaged_record_of_labels_is_refused_by_file(tmp_path, text):
    labels_file(tmp_path / "dict").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"dict\.labels\.json cannot be read: .*; --overwrite makes its files anew"):
        update(tmp_path / "dict")


def test_the_record_holds_all_images_that_were_asked_for(tmp_path):
    update(tmp_path / "dict")
    update(tmp_path / "dict", ["c"], LABELS[:1])
    assert json.loads(labels_file(tmp_path / "dict").read_text()) == {"a": "a0", "b": "40", "c": "a0"}


@pytest.mark.parametrize(
    ("scores", "said"), [({"weights": "a"}, False), ({"weights": "a+pamr"}, False), ({"weights": "b"}, True), ({}, False)]
)
def test_scores_of_other_weights_than_the_cams_are_told(tmp_path, scores, said):
    (tmp_path / "crf").mkdir()
    (tmp_path / "dict.made_with.json").write_text('{"weights": "a"}')
    (tmp_path / "crf" / "4.made_with.json").write_text(json.dumps(scores))
    assert ("of CAMs of other weights" in note_of_other_weights(tmp_path / "crf" / "4", tmp_path)) == said
