"""Options of commands that make or prepare data sets."""

from dataclasses import dataclass

from .flags import check_ranges, option


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """Options of both `datasets.prepare` commands."""

    num_workers: int = option(-1, "processes, at least 1; -1: one per core", low=-1, high=256)


@dataclass(frozen=True, kw_only=True)
class PrepareCocoOptions(PrepareOptions):
    """`python -m datasets.prepare coco`."""

    data_path: str = option("./data/COCO2014", "folder with train2014, val2014 and annotations")
    splits: tuple[str, ...] = option(("train2014", "val2014"), "splits to prepare")
    crowds: str = option(
        "ignore", "what crowd regions become: 255, their class, or background", choices=("ignore", "class", "background")
    )
    out: str = option("", "folder of the masks and tables; empty: SegmentationClass and annotations in DATA_PATH")

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class PrepareVocOptions(PrepareOptions):
    """`python -m datasets.prepare voc`."""

    data_path: str = option("./data/VOC2012", "VOCdevkit/VOC2012")
    sbd_path: str = option("", "the SBD release; empty: SBD in DATA_PATH")
    download: bool = option(False, "fetch what is missing of VOC 2012 and SBD, through torchvision")

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class ShardOptions(PrepareOptions):
    """`python -m datasets.shards`."""

    data_path: str = option("./data/VOC2012", "data set in any layout")
    out: str = option(..., "folder of the shards")
    lists: tuple[str, ...] = option(("train", "val"), "lists to pack, each into shards of its own")
    images: int = option(10_000, "images of a shard", low=1, high=10**6)

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class ToyOptions:
    """`python -m datasets.toy`."""

    data_path: str = option("./data/toy", "folder that becomes the data set")
    train_images: int = option(1600, "images of the list train", low=1, high=10**6)
    val_images: int = option(200, "images of the list val", low=1, high=10**6)
    size: int = option(64, "longer side of an image in pixels", low=32, high=4096)
    seed: int = option(0, "seed of the images", low=0, high=2**31 - 1)

    def __post_init__(self) -> None:
        check_ranges(self)
