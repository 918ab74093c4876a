"""Trains DiG on MS-COCO 2014: python train_trm_coco.py --name NAME --exp dig_coco_eccv24

The same training as train_trm.py, with COCO's recipe as the default.
"""

from functools import partial

from utils.command_line import check_flags
from utils.options.recipes import COCO_EXP, train_defaults
from utils.options.training import TrainOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(TrainOptions, partial(train_defaults, exp=COCO_EXP))

import train_trm
from utils.errors import run_script
from utils.machine.distributed import in_processes
from utils.options.flags import memory_advice

PROGRAM = "train_trm_coco.py"


def main(args: list[str]) -> None:
    train_trm.main(args, PROGRAM, COCO_EXP)


if __name__ == "__main__":
    run_script(
        in_processes(main, partial(train_trm.shared_batch, program=PROGRAM, exp=COCO_EXP)), memory_advice(TrainOptions)
    )
