"""Own images as a data set: what it is told from, lists, labels, masks, and the scripts on it."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import evaluation
import infer_trm
import train_trm
from datasets.layouts.base import is_data_set, open_layout, read_truth
from datasets.layouts.coco import CocoLayout
from datasets.layouts.folder import FolderLayout
from datasets.layouts.voc import VocLayout
from datasets.lists import draw
from tests.helpers import ROOT
from tests.helpers.small_runs import SMALL
from tests.helpers.toy_data import OBJECTS, make_toy_folder, save_mask, write_json, write_lines
from utils.cams.files import read_cam_dict, write_cam_dict
from utils.errors import InputError

CLASSES = tuple(sorted({name for objects in OBJECTS for name in objects}))
ALL = [str(i) for i in range(6)]


@pytest.fixture
def root(tmp_path) -> Path:
    """Six images in images/ and labels.csv."""
    return make_toy_folder(tmp_path / "own")


@pytest.fixture
def sorted_images(tmp_path) -> Path:
    """Folders of two classes."""
    for name in ("dog/1.jpg", "dog/2.jpg", "cat/1.jpg"):
        touch(tmp_path / "sorted" / name)
    return tmp_path / "sorted"


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def as_json(root: Path) -> Path:
    """The same data set with labels.json."""
    (root / "labels.csv").unlink()
    write_json(root / "labels.json", {str(i): objects for i, objects in enumerate(OBJECTS)})
    return root


@pytest.mark.parametrize("change", [lambda root: root, as_json])
def test_a_folder_with_a_file_of_labels_is_a_data_set(root, change):
    layout = open_layout(change(root))
    assert layout == FolderLayout(root)
    assert layout.classes == CLASSES
    assert [{CLASSES[c] for c in np.flatnonzero(row)} for row in layout.labels(ALL)] == [set(names) for names in OBJECTS]
    assert all(layout.image_path(image_id) == root / "images" / f"{image_id}.jpg" for image_id in ALL)


def test_sub_folders_of_classes_are_a_data_set(sorted_images):
    layout = open_layout(sorted_images)
    assert (layout.classes, layout.read_list("all")) == (("cat", "dog"), ["cat__1", "dog__1", "dog__2"])
    assert layout.labels(["dog__2", "cat__1"]).tolist() == [[False, True], [True, False]]
    assert layout.image_path("dog__1") == sorted_images / "dog" / "1.jpg"


def test_labels_go_before_the_names_of_folders(sorted_images):
    write_lines(sorted_images / "labels.csv", "dog/1,animal", "cat/1,animal,pet")
    layout = open_layout(sorted_images)
    assert (layout.classes, list(layout.images)) == (("animal", "pet"), ["dog__1", "cat__1"])


def test_folders_of_images_are_data_sets_where_they_are_named(root, sorted_images):
    assert is_data_set(root)
    assert is_data_set(sorted_images)
    assert not is_data_set(root / "images")


def test_folders_that_nobody_has_named_need_more_than_sub_folders_of_images(root, sorted_images):
    assert is_data_set(root, guess=True)
    assert not is_data_set(sorted_images, guess=True)
    write_lines(sorted_images / "classes.txt", "cat", "dog")
    assert is_data_set(sorted_images, guess=True)


def test_folders_of_a_published_layout_are_still_told_from_folders_of_classes(toy_voc, toy_coco):
    assert isinstance(open_layout(toy_voc), VocLayout)
    assert isinstance(open_layout(toy_coco), CocoLayout)


@pytest.mark.parametrize(("mark", "file"), [("JPEGImages", "labels.csv"), ("train2014", "labels.json")])
def test_the_marks_of_two_layouts_are_refused(tmp_path, mark, file):
    (tmp_path / mark).mkdir()
    touch(tmp_path / file)
    with pytest.raises(InputError, match=rf"has both {mark}/ and {file}: move the one away that does not count"):
        open_layout(tmp_path)


@pytest.mark.parametrize(("one", "other"), [("labels.csv", "labels.json"), ("masks", "SegmentationClass")])
def test_two_of_what_there_is_one_of_are_refused(root, one, other):
    for name in (one, other):
        if not (root / name).exists():
            write_json(root / name, {}) if "." in name else (root / name).mkdir()
    with pytest.raises(InputError, match=rf"has both {one} and {other}"):
        open_layout(root)


def test_a_plain_folder_of_images_is_refused_with_what_it_lacks(root):
    (root / "labels.csv").unlink()
    for folder in (root, root / "images"):
        with pytest.raises(InputError, match=r"images holds images, and nothing says what is in them: write labels\.csv"):
            open_layout(folder)


def test_a_folder_of_splits_is_refused_with_all_layouts(sorted_images):
    with pytest.raises(
        InputError, match=r"holds no data set: --data-path .* or of your own images with labels\.csv, labels\.json or"
    ):
        open_layout(sorted_images.rename(sorted_images.parent / "train").parent)


def test_a_list_of_classes_decides_their_order_and_adds_some(root):
    write_lines(root / "classes.txt", "zebra", *CLASSES[::-1])
    layout = open_layout(root)
    assert layout.classes == ("zebra", *CLASSES[::-1])
    assert np.flatnonzero(layout.labels(["0"])[0]).tolist() == [1 + CLASSES[::-1].index("cat")]


def test_a_label_that_is_no_class_is_refused_by_file_line_and_name(root):
    write_lines(root / "classes.txt", *(name for name in CLASSES if name != "sofa"))
    with pytest.raises(InputError, match=r"labels\.csv line 3 has the label 'sofa', none of the 7 in classes\.txt"):
        open_layout(root).labels(ALL)


def test_a_folder_that_is_no_class_is_refused_by_name(sorted_images):
    write_lines(sorted_images / "classes.txt", "cat")
    with pytest.raises(InputError, match=r"/dog has the label 'dog', none of the 1 in classes\.txt"):
        open_layout(sorted_images).labels(["dog__1"])


@pytest.mark.parametrize(
    ("label", "cause"), [("a/b", r"names 'a/b'; files are named after classes"), ("", "names no class")]
)
def test_labels_that_cannot_be_classes_are_refused_by_file(root, label, cause):
    write_lines(root / "labels.csv", f"0,{label}")
    with pytest.raises(InputError, match=rf"labels\.csv {cause}"):
        _ = open_layout(root).classes


def test_an_image_that_the_labels_lack_is_named(root):
    with pytest.raises(InputError, match=r"labels\.csv knows no image 'gone'"):
        open_layout(root).image_path("gone")


@pytest.mark.parametrize("folder", ["masks", "SegmentationClass"])
def test_masks_stand_under_the_id(sorted_images, folder):
    save_mask(np.zeros((4, 5), np.uint8), sorted_images / folder / "dog__1.png")
    layout = open_layout(sorted_images)
    assert layout.mask_folder == sorted_images / folder
    assert layout.mask_path("dog__1") == sorted_images / folder / "dog__1.png"


def test_masks_that_are_not_there_are_expected_in_masks(root):
    assert open_layout(root).mask_path("0") == root / "masks" / "0.png"


def test_the_classes_of_a_mask_are_those_of_the_labels(tmp_path):
    layout = open_layout(make_toy_folder(tmp_path / "own", masks=True))
    for image_id, row in zip(ALL, layout.labels(ALL), strict=True):
        shown = set(np.unique(read_truth(layout, image_id)).tolist()) - {0, 255}
        assert shown == {c + 1 for c in np.flatnonzero(row)}


def test_without_lists_training_takes_all_images(root):
    layout = open_layout(root)
    assert layout.training_ids() == (ALL, str(root / "labels.csv"))
    assert layout.read_list("train") == layout.read_list("all") == ALL


@pytest.mark.parametrize("folder", ["lists", "ImageSets/Segmentation"])
def test_training_leaves_out_a_list_val(root, folder):
    write_lines(root / folder / "val.txt", "4", "2")
    layout = open_layout(root)
    assert layout.training_ids() == (["0", "1", "3", "5"], f"{root}/labels.csv less val")
    assert layout.read_list("train") == ["0", "1", "3", "5"]
    assert (layout.read_list("val"), layout.read_list("all")) == (["4", "2"], ALL)


def test_training_takes_a_list_train(root):
    path = write_lines(root / "lists" / "train.txt", "5", "1")
    assert open_layout(root).training_ids() == (["5", "1"], str(path))
    assert open_layout(root).read_list("train") == ["5", "1"]


@pytest.mark.parametrize(("name", "source"), [("all", "labels.csv"), ("all:2", "labels.csv"), ("few", "lists/few.txt")])
def test_training_takes_the_list_that_is_named(root, name, source):
    write_lines(root / "lists" / "few.txt", "3")
    layout = open_layout(root)
    assert layout.training_ids(name) == (layout.read_list(name), str(root / source))


def test_a_list_with_a_count_is_a_draw_from_it(root):
    layout = open_layout(root)
    assert layout.read_list("all:3") == layout.read_list("train:3") == draw(ALL, 3)


@pytest.mark.parametrize("line", ["dog__1", "dog/1", "dog/1.jpg"])
def test_a_list_may_name_ids_and_files(sorted_images, tmp_path, line):
    path = write_lines(tmp_path / "list.txt", "", line)
    assert open_layout(sorted_images).read_list(str(path)) == ["dog__1"]


def test_an_image_listed_twice_is_refused(sorted_images, tmp_path):
    path = write_lines(tmp_path / "list.txt", "dog__1", "dog/1.jpg")
    with pytest.raises(InputError, match=r"list\.txt names dog__1 twice"):
        open_layout(sorted_images).read_list(str(path))


@pytest.mark.parametrize("line", ["7", "../own/images/0.jpg", "/", "."])
def test_a_list_with_an_unknown_image_is_refused_by_file_and_name(root, tmp_path, line):
    path = write_lines(tmp_path / "list.txt", "0", line)
    with pytest.raises(InputError, match=rf"list\.txt names '{line}', which .*labels\.csv does not know"):
        open_layout(root).read_list(str(path))


def test_an_empty_list_is_refused(root):
    write_lines(root / "lists" / "few.txt", " ")
    with pytest.raises(InputError, match=r"few\.txt names no image"):
        open_layout(root).read_list("few")


def test_a_list_that_is_not_there_is_refused_with_what_will_do(root):
    with pytest.raises(InputError, match=r"own/lists/val\.txt is missing: name another list, .* or all, for all images"):
        open_layout(root).read_list("val")


def test_a_list_val_of_all_images_leaves_none_to_train_on(root):
    write_lines(root / "lists" / "val.txt", *ALL)
    with pytest.raises(InputError, match=r"val\.txt leaves no image to train on"):
        open_layout(root).training_ids()


def test_a_worker_reads_the_table_itself_and_once(root):
    layout = open_layout(root)
    small = len(pickle.dumps(layout))
    assert layout.images
    assert len(pickle.dumps(layout)) == small
    first, second = (pickle.loads(pickle.dumps(layout)) for _ in range(2))
    assert first == layout
    assert first.images is second.images


def train(tmp_path: Path, data: Path, extra: str = "") -> str:
    train_trm.main(f"--name run --experiments {tmp_path} --data-path {data} {SMALL} --epochs 1 {extra}".split())
    return (tmp_path / "run" / "log.txt").read_text()


def test_the_scripts_train_infer_and_score_on_own_images(tmp_path, capsys):
    data = make_toy_folder(tmp_path / "own", masks=True)
    write_lines(data / "labels.csv", *(data / "labels.csv").read_text().split()[:-1], "5.jpg")  # which had two classes
    write_lines(data / "classes.txt", *CLASSES)
    write_lines(data / "lists" / "val.txt", "1", "4")
    log = train(tmp_path, data, "--val_list val")
    assert f"8 classes of {data}" in log
    assert f"training on 3 images of {data}/labels.csv less val; 1 left out for having no label" in log
    assert "on val" in log
    infer_trm.main(f"--name run --experiments {tmp_path} --dict --vis --device cpu --num_workers 0".split())
    assert sorted(path.name for path in (tmp_path / "run" / "dict").iterdir()) == ["1.npy", "4.npy"]
    assert sorted(path.name for path in (tmp_path / "run" / "vis").iterdir()) == [
        "1_dog.png",
        "1_sofa.png",
        "4_tvmonitor.png",
    ]
    capsys.readouterr()
    evaluation.main(f"--name run --experiments {tmp_path} --num_workers 1".split())
    scored = capsys.readouterr().out
    assert f"cam: 2 images, {tmp_path}/run/dict against {data}/masks" in scored
    assert "tvmonitor" in scored
    assert "aeroplane" in scored


def test_the_log_names_classes_with_counts_and_what_is_left_out(tmp_path):
    data = make_toy_folder(tmp_path / "own")
    lines = (data / "labels.csv").read_text().split()
    write_lines(data / "labels.csv", *lines[:-1])  # of 5.jpg nothing is said
    for name in ("images/6.mp4", "images/notes.txt", "images/._0.jpg", "images/.cache/7.jpg", "8.nef"):
        touch(data / name)
    log = train(tmp_path, data)
    assert "images of each class: cat 1, dog 1, horse 1, person 2, sofa 1, tvmonitor 1\n" in log
    assert f"1 images left out, of which {data}/labels.csv says nothing: images/5.jpg\n" in log
    assert (
        "3 files left out: 8.nef (raw files are not read: save it as PNG); images/6.mp4 (films are not read: save its "
        "frames as images); images/notes.txt (.txt is no suffix of images)\n"
    ) in log


def test_the_log_says_how_a_table_was_read(tmp_path):
    data = make_toy_folder(tmp_path / "own")
    write_lines(data / "labels.csv", "file;cat;dog", *(f"{i}.jpg;{i % 2};1" for i in range(6)))
    log = train(tmp_path, data)
    assert f"{data}/labels.csv: columns between semicolons, a column of yes and no for each of 2 classes\n" in log
    assert "images of each class: cat 3, dog 6\n" in log


def test_nothing_left_out_is_not_mentioned(root):
    touch(root / "classes.txt").write_text("\n".join(CLASSES))
    touch(root / "lists" / "val.txt")
    touch(root / "masks" / "0.txt")
    assert open_layout(root).notes == ()


def test_without_masks_training_says_so_and_scoring_ends_with_one_line(tmp_path, sorted_images):
    for i, path in enumerate(sorted(sorted_images.glob("*/*.jpg"))):
        path.write_bytes((make_toy_folder(tmp_path / "own") / "images" / f"{i}.jpg").read_bytes())
    log = train(tmp_path, sorted_images)
    assert "3 of 3 images of train have no mask: nothing is scored during training" in log
    infer_trm.main(f"--name run --experiments {tmp_path} --dict --device cpu --num_workers 0".split())
    cams = read_cam_dict(tmp_path / "run" / "dict" / "dog__2.npy", None, 2)
    assert list(cams) == [1]
    line = [sys.executable, str(ROOT / "evaluation.py"), "--name", "run", "--experiments", str(tmp_path)]
    result = subprocess.run(line, env=os.environ, capture_output=True, text=True)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert result.stderr.startswith(f"error: {sorted_images}/masks is missing")


def test_masks_and_classes_are_the_data_sets_where_no_run_is_there(tmp_path, capsys):
    data = make_toy_folder(tmp_path / "own", masks=True)
    layout = open_layout(data)
    for image_id in ALL:
        mask = read_truth(layout, image_id)
        shown = set(np.unique(mask).tolist()) - {0, 255}
        write_cam_dict(tmp_path / "cams" / f"{image_id}.npy", {c - 1: np.where(mask == c, 0.5, 0.2) for c in shown})
    evaluation.main(f"--dict_dir {tmp_path}/cams --gt_dir {data}/masks --list all --num_workers 1".split())
    assert "mIoU 100.000 at threshold 0.20" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["masks", "SegmentationClass"])
def test_a_class_called_like_the_folder_of_masks_is_refused(sorted_images, name):
    touch(sorted_images / name / "1.jpg")
    with pytest.raises(InputError, match=rf"{name}/1\.jpg is no PNG, as true masks are: rename \S+/{name} if it is a class"):
        open_layout(sorted_images).labels(["dog/1"])
