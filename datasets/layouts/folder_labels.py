"""Image-level labels of a folder of images: from a table, a JSON file, or one sub-folder per class."""

import json
import os
import posixpath
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from utils.errors import InputError, did_you_mean
from utils.folders import is_hidden, visible_files
from utils.images import UNREAD, first_of, is_image_name, named_by_reason, why_missing, why_unread

from ..labels.spelling import NOTHING, normal_name, require_one_spelling, why_no_class
from ..labels.tables import LabelTable, labels_of_cell, read_label_table
from ..lists import LONGEST_ID

MOST_NAMED = 10
"""How many files of one kind the log names."""
LABEL_FILES = ("labels.csv", "labels.json")
RESERVED = ("images", "masks", "SegmentationClass", "lists", "ImageSets", "__MACOSX")
"""Sub-folders that are not classes."""
PNG_FOLDERS = ("masks", "SegmentationClass")
"""Those of them that hold true masks."""
SPLITS = frozenset(["train", "training", "val", "valid", "validation", "test", "testing", "dev", "trainval"])
"""Names of folders that are parts of a data set, not classes."""


class LabelledImage(NamedTuple):
    """An image with its labels."""

    path: Path
    labels: Sequence[str]
    place: str  # source of the labels, such as a file and line, for messages


def label_files(root: Path) -> list[Path]:
    """The files of labels in a folder; more than one is an error of the user."""
    return [root / name for name in LABEL_FILES if (root / name).is_file()]


def class_folders(root: Path) -> list[Path]:
    """The sub-folders of a data set that has one for each class.

    Raises:
        InputError: the sub-folders may not be classes.
    """
    folders = visible_folders(root)
    for name in PNG_FOLDERS:
        if odd := next((image for image in image_names(root / name) if not image.lower().endswith(".png")), None):
            raise InputError(f"{root / name / odd} is no PNG, as true masks are: rename {root / name} if it is a class")
    remedy = "write labels.csv, lines image,label,…, or labels.json, or put every image into the sub-folder of its class"
    misnamed = [entry.name for entry in entries(root) if Path(entry.name).stem.casefold() == "labels" and is_file(entry)]
    if misnamed:
        remedy += f" ({misnamed[0]} is not read: save it as labels.csv)"
    for place in (root, root / "images"):
        if holds_images(place):
            raise InputError(f"{place} holds images, and nothing says what is in them: {remedy}")
    if not folders:
        raise InputError(f"{root} holds no images in sub-folders: {remedy}")
    for folder in folders:
        if not holds_images(folder) or visible_folders(folder):
            what = "holds folders" if visible_folders(folder) else "holds no image"
            raise InputError(
                f"{folder} {what}: without labels.csv or labels.json every sub-folder is a class and holds its images alone"
            )
    if not (root / "classes.txt").is_file() and all(folder.name.casefold() in SPLITS for folder in folders):
        raise InputError(f"{folders[0]} is named like a part of a data set, not like a class: {remedy}")
    if len(folders) == 1 and not (root / "classes.txt").is_file():
        raise InputError(
            f"{folders[0]} is the only folder of images: name it in classes.txt if it is a class, else {remedy}"
        )
    return folders


class Labelling(NamedTuple):
    """The labels of all images of a data set."""

    images: dict[str, LabelledImage]  # by id, in the order of the source
    classes: tuple[str, ...]  # all labels that occur, sorted
    notes: tuple[str, ...]  # how labels were interpreted, for the log


class Source(NamedTuple):
    """Images as listed by a file or by folders."""

    images: Iterable[LabelledImage]
    merges: bool = False  # an image may occur several times; its labels are merged
    classes: Sequence[str] = ()  # classes that the source names even if no image has them
    notes: Sequence[str] = ()  # how the source was interpreted, for the log


def labelled_images(root: Path, source: Path, known: Collection[str] = ()) -> Labelling:
    """Reads the labels of all images of a data set.

    Args:
        root: folder of the data set.
        source: its file of labels, or `root` if sub-folders are classes.
        known: classes of `classes.txt`.

    Raises:
        InputError: the labels are damaged or ambiguous, an image is missing or named twice, two images have one id, or a
            class has two spellings.
    """
    if source == root:
        read = Source(folder_images(root))
    else:
        read = csv_source(source, known) if source.suffix == ".csv" else Source(json_images(source, known))
    images: dict[str, LabelledImage] = {}
    again = 0
    names = LabelNames(read.classes, f"{source} line 1", known)
    for image in read.images:
        image_id = id_of(image.path.relative_to(root).as_posix())
        if image_id.splitlines() != [image_id] or len(image_id) > LONGEST_ID:
            raise InputError(f"{image.place}: no file can be named after {image_id[:LONGEST_ID]!r}: rename that image")
        image = image._replace(labels=[names.normal(label, image.place) for label in image.labels])
        if (other := images.get(image_id)) is not None:
            if other.path != image.path:
                raise InputError(f"{image.path} and {other.path} would both have the id {image_id!r}: rename one of them")
            if not (read.merges and other.labels and image.labels):
                raise InputError(f"{image.place} names {image_id!r} again, after {other.place}: give all its labels in one")
            again += 1
            image = other._replace(labels=list(dict.fromkeys((*other.labels, *image.labels))))
        images[image_id] = image
    if not images:
        raise InputError(f"{source} names no image")
    require_one_spelling(names.places.items())
    notes = [f"{source}: {', '.join(read.notes)}"] * bool(read.notes)
    if again:
        notes.append(f"{source}: {again} lines name an image again, and add to its labels")
    notes += names.notes()
    return Labelling(images, tuple(sorted(names.places)), tuple(notes))


class LabelNames:
    """Collects the names of labels, in normalised spelling.

    Args:
        classes: classes that exist even if no image has them.
        place: source of `classes`, for messages.
        known: classes of `classes.txt`, which may have any name.
    """

    def __init__(self, classes: Sequence[str], place: str, known: Collection[str]):
        self.known = known
        self.spellings: dict[str, set[str]] = {}
        self.places: dict[str, str] = {}
        for name in classes:
            self.normal(name, place)

    def normal(self, label: str, place: str) -> str:
        """The class name of a label.

        Raises:
            InputError: the label cannot be a class.
        """
        name = normal_name(label)
        if name not in self.places:
            if reason := why_no_class(name):
                raise InputError(f"{place}: {reason}")
            if name.casefold() in NOTHING and name not in self.known:
                raise InputError(f"{place} has the label {name!r}: leave it out where there is nothing in an image")
            self.places[name] = place
        self.spellings.setdefault(name, set()).add(label)
        return name

    def notes(self) -> list[str]:
        """A note on names that occur in several equivalent spellings."""
        several = [f"{name!r} in {len(raw)}" for name, raw in self.spellings.items() if len(raw) > 1]
        if not several:
            return []
        return [f"spellings that differ in blanks or the form of accents are one class: {', '.join(several)}"]


def csv_source(path: Path, known: Collection[str]) -> Source:
    """The source for a table of labels (`datasets.labels.tables`)."""
    files = ImageFiles(path.parent)
    table = read_label_table(path, lambda name: bool(files.spelt(name)), known)
    return Source(table_images(path, table, files), table.one_label_a_row, table.classes, table.notes)


def table_images(path: Path, table: LabelTable, files: "ImageFiles") -> Iterator[LabelledImage]:
    """The images of a table of labels.

    Raises:
        InputError: a line names no image of the data set.
    """
    for row in table.rows:
        place = f"{path} line {row.line}"
        yield LabelledImage(files.find(row.image, place), row.labels, place)


def json_images(path: Path, known: Collection[str]) -> Iterator[LabelledImage]:
    """The images of a JSON file `{"image": ["label", …], …}`.

    Raises:
        InputError: the file is damaged or has another form, or a text may be several labels.
    """
    try:
        # Pairs instead of dicts, so that an image that is named twice is noticed.
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=tuple)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, tuple):
        raise InputError(f'{path} must hold {{"image": ["label", …], …}}')
    files = ImageFiles(path.parent)
    for name, labels in content:
        if not isinstance(labels, list) or not all(isinstance(label, str) and label.strip() for label in labels):
            raise InputError(f"{path}: the labels of {name!r} must be a list of names")
        place = f"{path}: {name!r}"
        if several := next((label for label in labels if len(labels_of_cell(label, known, place)[0]) > 1), None):
            raise InputError(f"{place} has {several!r} as one label: give each as a string of its own")
        yield LabelledImage(files.find(name, str(path)), labels, place)


def folder_images(root: Path) -> Iterator[LabelledImage]:
    """The images of a data set with one sub-folder per class."""
    for folder in class_folders(root):
        for name in sorted(image_names(folder)):
            yield LabelledImage(folder / name, [folder.name], str(folder))


class ImageFiles:
    """Finds the image files of a data set by name; each folder is listed only once.

    Args:
        root: folder of the data set; names are relative to it or to its `images/`.
    """

    def __init__(self, root: Path):
        self.root = root
        self.listings: dict[str, tuple[dict[str, list[Path]], dict[str, list[Path]]]] = {}

    def find(self, name: str, place: str) -> Path:
        """The image file of a name.

        Args:
            name: relative path with forward slashes, with or without suffix.
            place: source of the name, for messages.

        Raises:
            InputError: no file has this name, or several have.
        """
        path = PurePosixPath(name)
        if path.is_absolute() and path.is_relative_to(self.root.absolute()):
            path = path.relative_to(self.root.absolute())
            name = str(path)
        if not path.name or path.is_absolute() or ".." in path.parts or "\\" in name:
            raise InputError(f"{place} names {name!r}, which is no image inside {self.root} (folders are told apart by /)")
        found = self.spelt(name)
        if not found:
            raise InputError(f"{place} names {name!r}, {self.why_not_there(path)}")
        if len(found) > 1:
            raise InputError(f"{place} names {name!r}, which may be {found[0]} or {found[1]}: move one of them away")
        return found[0]

    def why_not_there(self, path: PurePosixPath) -> str:
        """The end of a message: why there is no image of a name."""
        for file in (self.root / path, self.root / "images" / path):
            if os.path.lexists(file) and not is_file(file):
                return f"and {file} {why_missing(file) if file.is_symlink() else 'is no file'}"
            if os.path.lexists(file) and (reason := why_unread(path.name)):
                return f"which is no image: {reason}"
            unread = [entry.name for entry in entries(file.parent) if Path(entry.name).stem == path.name]
            if reason := next((UNREAD[suffix] for name in unread if (suffix := Path(name).suffix.lower()) in UNREAD), ""):
                return f"and there is only {file.parent / unread[0]}: {reason}"
        by_name, _ = self.listing(str(path.parent))
        meant = did_you_mean(path.name, by_name)
        return f"and there is no such image in {self.root} or its images/{meant}"

    def spelt(self, name: str) -> list[Path]:
        """All image files that a name may refer to: by full name, or if there is none, by stem."""
        folder, _, file = posixpath.normpath(name).rpartition("/")
        by_name, by_stem = self.listing(folder)
        file = unicodedata.normalize("NFC", file)
        return by_name.get(file) or by_stem.get(file, [])

    def listing(self, folder: str) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
        """The image files of a sub-folder of the root and of `images/`, by name and by stem."""
        if folder not in self.listings:
            by_name: dict[str, list[Path]] = {}
            by_stem: dict[str, list[Path]] = {}
            for place in (self.root / folder, self.root / "images" / folder):
                for name in sorted(image_names(place)):
                    spelt, path = unicodedata.normalize("NFC", name), place / name
                    by_name.setdefault(spelt, []).append(path)
                    by_stem.setdefault(posixpath.splitext(spelt)[0], []).append(path)
            self.listings[folder] = by_name, by_stem
        return self.listings[folder]


def id_of(name: str) -> str:
    """The id of an image from its path in the data set, with or without suffix: `images/dog/1.jpg` -> `dog__1`.

    Accents are in Unicode's NFC, because file systems differ.
    """
    parts = [part for part in unicodedata.normalize("NFC", name).split("/") if part not in ("", ".")]
    *folders, file = parts or [""]
    if folders[:1] == ["images"]:
        folders = folders[1:]
    return "__".join((*folders, posixpath.splitext(file)[0] if is_image_name(file) else file))


def image_names(folder: Path) -> Iterator[str]:
    """Names of the image files in a folder, unordered; none if the folder does not exist."""
    return (entry.name for entry in entries(folder) if is_image_name(entry.name) and is_file(entry))


def is_file(entry: os.DirEntry | Path) -> bool:
    """Whether an entry is a file; False for a broken or circular link."""
    try:
        return entry.is_file()
    except OSError:
        return False


def left_out_of(root: Path, labelled: Iterable[Path], source: Path) -> list[str]:
    """Notes on files of a data set that are not used: images without labels, and files that are no images.

    Args:
        root: folder of the data set.
        labelled: its images with labels.
        source: the source of the labels.
    """
    known = {*map(str, labelled)}
    found = visible_files(root, [name for name in RESERVED if name != "images"])
    files = [path for path in found if str(path) not in known]
    silent = [str(path.relative_to(root)) for path in files if is_image_name(path.name) and is_file(path)]
    # Other files in the root, such as tables, are expected; among the images, any file may have been meant as one.
    others = [
        path
        for path in files
        if not (is_image_name(path.name) and is_file(path)) and (path.parent != root or path.suffix.lower() in UNREAD)
    ]
    notes = [f"{len(silent)} images left out, of which {source} says nothing: {first_of(silent, MOST_NAMED)}"] * bool(silent)
    return notes + [f"{len(others)} files left out: {named_by_reason(others, root)}"] * bool(others)


def holds_images(folder: Path) -> bool:
    """Whether a folder itself, without sub-folders, holds an image."""
    return next(image_names(folder), None) is not None


def visible_folders(root: Path) -> list[Path]:
    """Sub-folders that may be classes: not hidden and not `RESERVED`; sorted."""
    names = (entry.name for entry in entries(root) if not is_hidden(entry.name) and is_folder(entry))
    return [root / name for name in sorted(names) if name not in RESERVED]


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder; False for a broken or circular link."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def entries(folder: Path) -> Iterator[os.DirEntry]:
    """Entries of a folder; none if the folder does not exist."""
    try:
        with os.scandir(folder) as found:
            yield from found
    except (OSError, ValueError):  # no folder, or a name that no folder can have
        return
