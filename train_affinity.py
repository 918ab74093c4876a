"""Learns pairwise affinities from confident masks: python train_affinity.py --name X_aff --masks experiment/X/sure

The same training as train_seg.py. The network's output is an embedding, whose differences tell whether two nearby places
show the same class (`utils/segmentation/affinity.py`).
"""

from utils.command_line import check_flags
from utils.options.seg_recipes import affinity_defaults
from utils.options.segmentation import AffinityOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(AffinityOptions, affinity_defaults)

from functools import partial

import train_seg
from utils.errors import run_script
from utils.experiment.saved import AFF
from utils.machine.distributed import in_processes
from utils.options.flags import memory_advice

AFFINITIES = train_seg.Goal("train_affinity.py", __doc__, AffinityOptions, affinity_defaults, AFF)


def main(args: list[str]) -> None:
    train_seg.main(args, AFFINITIES)


if __name__ == "__main__":
    run_script(in_processes(main, partial(train_seg.shared_batch, goal=AFFINITIES)), memory_advice(AffinityOptions))
