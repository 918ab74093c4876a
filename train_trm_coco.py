"""Trains DiG on MS-COCO 2014: python train_trm_coco.py --name NAME --exp dig_coco_eccv24

The same training as train_trm.py, with COCO's recipe as the default.
"""

import train_trm
from utils.errors import run_script
from utils.machine.distributed import in_processes


def main(args: list[str]) -> None:
    train_trm.main(args, "train_trm_coco.py", "dig_coco_eccv24")


if __name__ == "__main__":
    run_script(in_processes(main))
