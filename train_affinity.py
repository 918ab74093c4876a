"""Trains affinities of places on sure masks: python train_affinity.py --name X_aff --masks experiment/X/sure

The same training as train_seg.py. The network's outputs are an embedding, whose differences tell whether two places near to
each other show one class (`utils/segmentation/affinity.py`).
"""

from functools import partial

import train_seg
from utils.errors import run_script
from utils.experiment import AFF
from utils.machine.distributed import in_processes
from utils.options.flags import memory_advice
from utils.options.seg_recipes import AFFINITY_RECIPES
from utils.options.segmentation import AffinityOptions

AFFINITIES = train_seg.Goal("train_affinity.py", __doc__, AffinityOptions, AFFINITY_RECIPES, AFF)


def main(args: list[str]) -> None:
    train_seg.main(args, AFFINITIES)


if __name__ == "__main__":
    run_script(in_processes(main, partial(train_seg.shards, goal=AFFINITIES)), memory_advice(AffinityOptions))
