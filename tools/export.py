"""Makes a folder to share of a trained network: python -m tools.export --name NAME --license mit"""

from utils.command_line import check_flags
from utils.options.tools.export import ExportOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(ExportOptions)

import json
from pathlib import Path

from models import CamModel, SegModel, load_cam_model, load_seg_model
from models.trained.exporters import export_graph, require_onnx
from utils.cams.folders import start_folder
from utils.errors import InputError, run_script
from utils.experiment.exported import CARD_FILE
from utils.experiment.folder import read_scores, require_experiment
from utils.experiment.saved import AFF, SEG, TRM, kind_of
from utils.machine.locks import writing
from utils.model_card import UNKNOWN, Score, licence_in, model_card
from utils.options.flags import parse_options
from utils.records import digest_of
from utils.scoring.best_threshold import evaluation_file

METRICS = {"miou": "mIoU", "map": "mAP", "f1": "F1"}
"""Names of scores in scores.json, and in the model card."""


def main(args: list[str]) -> None:
    # Options
    options = parse_options(ExportOptions, args, "python -m tools.export", __doc__)
    require_experiment(options.folder)
    if options.format == "onnx":
        require_onnx()

    # Network
    model = load_model(options)
    weights = digest_of(model.weights, "")
    scores = scores_of(options, model, weights)

    # Folder: never holds files of two networks
    with writing(options.target):
        licence = options.license or (UNKNOWN if options.overwrite else licence_in(options.target / CARD_FILE))
        start_folder(options.target, {"weights": weights}, "model.*", options.overwrite)
        card = model_card(model.exported_config, model.run, options.name, licence, scores, Path(model.run.data_path).name)
        model.write(options.target, card)

        # Graph: checked against the network before it is kept
        if options.format != "safetensors":
            print(export_graph(model.net, options.target, options.format))
    print(f"{model.weights}: {len(model.classes)} classes, licence {licence}, {len(scores)} scores")
    print(f"done: {options.target}")


def load_model(options: ExportOptions) -> CamModel | SegModel:
    """The network of a run.

    Raises:
        InputError: there is no run, or it is one of train_affinity.py.
    """
    kind = kind_of(options.folder)
    if kind == AFF:
        raise InputError(f"{options.folder} is a run of train_affinity.py, which only python -m tools.refine uses")
    load = load_seg_model if kind == SEG else load_cam_model
    return load(options.folder, options.epoch, options.weights or None, "cpu")


def scores_of(options: ExportOptions, model: CamModel | SegModel, weights: str) -> list[Score]:
    """Known scores of these weights: those of their epoch in validation, and the one that evaluation.py found.

    Args:
        options: the options.
        model: the network.
        weights: digest of its weights.

    Raises:
        InputError: a file of scores is damaged.
    """
    of_cams = isinstance(model, CamModel)
    found, source = [], "CAMs in validation" if of_cams else "masks in validation"
    epoch = epoch_of(model.weights) if not options.weights else ""
    for name, value in read_scores(options.folder).get(epoch, {}).items():
        if name in METRICS:
            of = source if name == "miou" else "labels in validation"
            found.append(Score(METRICS[name], value, model.run.val_list, of))
    path = evaluation_file(options.folder)
    try:
        content = json.loads(path.read_text())
        if content["weights"] == weights:
            found.append(Score("mIoU", float(content["miou"]), str(content["list"]), f"CAMs at {content['threshold']:g}"))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error!r}; score the CAMs anew") from error
    return found


def epoch_of(weights: Path) -> str:
    """The epoch of an experiment's weights, as scores.json spells it: `019net_trm.pth` -> `19`."""
    digits = weights.name.removesuffix(TRM).removesuffix(SEG)
    return str(int(digits)) if digits.isdigit() else ""


if __name__ == "__main__":
    run_script(main)
