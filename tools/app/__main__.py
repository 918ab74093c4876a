"""Serves a page that tries an experiment on photographs: python -m tools.app --name NAME"""

from utils.command_line import check_flags
from utils.options.tools.app import AppOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(AppOptions)

import importlib.util
import os
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

from datasets.layouts.base import classes_at
from datasets.runs import open_run
from models import CamModel, SegModel, load_cam_model, load_seg_model
from tools.app.explorer import Explorer
from tools.app.uploads import Limits
from utils.cams.crf import require_crf
from utils.errors import InputError, run_script
from utils.experiment.folder import require_experiment
from utils.experiment.saved import TRM, kind_of, run_of
from utils.machine.device import hardware
from utils.options.flags import memory_advice, parse_options


def main(args: list[str]) -> None:
    # Options
    options = parse_options(AppOptions, args, "python -m tools.app", __doc__)
    require_gradio()

    # Networks, and the page's initial content
    model, segmenter = load_model(options), load_segmenter(options)
    print(f"{model.weights} on {hardware(model.precision)}")
    limits = Limits(options.max_megapixels, options.max_mb)
    explorer = Explorer(model, segmenter, limits, has_crf())
    examples = examples_of(options)

    # Page: photographs and downloads are in a temporary folder, which is removed after Ctrl-C or SIGTERM
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="dig-app-") as folder:
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=folder)
        from tools.app.page import build_page, launch  # reads the environment

        subtitle = f"{len(model.classes)} classes, weights {model.weights.name}"
        page = build_page(explorer, options.name, subtitle, examples, model.background, Path(folder))
        launch(page, options.host, options.port, int(1e6 * options.max_mb))


def require_gradio() -> None:
    """Raises InputError if Gradio is not installed; it is optional."""
    if importlib.util.find_spec("gradio") is None:
        raise InputError("the page needs Gradio: pip install --no-deps -r requirements-app.txt")


def load_model(options: AppOptions) -> CamModel:
    """The network whose CAMs are shown.

    Raises:
        InputError: there is none, or the experiment is of another kind.
    """
    require_experiment(options.folder)
    if kind_of(options.folder) != TRM:
        raise InputError(f"{options.folder} has no CAMs: name a run of train_trm.py; --seg takes a segmentation network")
    run, classes = run_of(options.folder, options.exp, options.data_path)
    if classes is None:
        classes = classes_at(Path(run.data_path))
    return load_cam_model(options.folder, **options.network, exp=options.exp, classes=classes)


def load_segmenter(options: AppOptions) -> SegModel | None:
    """The segmentation network of `--seg`, else of `NAME_seg`; None if there is none.

    Raises:
        InputError: the one that `--seg` names cannot be used.
    """
    folder = Path(options.experiments) / (options.seg or f"{options.name}_seg")
    if not options.seg and not folder.is_dir():
        return None
    try:
        return load_seg_model(folder, device=options.device)
    except InputError as error:
        if options.seg:
            raise
        print(f"without a segmentation network: {error}")
        return None


def has_crf() -> bool:
    """Whether the CRF is installed; prints a line if it is not."""
    try:
        require_crf()
    except InputError as error:
        print(f"without a CRF: {error}")
        return False
    return True


def examples_of(options: AppOptions) -> Sequence[Path]:
    """Images of the run's data set, evenly spaced in its validation list; none if the data set is not here."""
    if not options.examples:
        return []
    try:
        run, layout = open_run(options.folder, options.exp, options.data_path, "")
        ids = layout.read_list(run.val_list)
        count = min(options.examples, len(ids))
        paths = [layout.image_path(ids[i * len(ids) // count]) for i in range(count)]
        return [path for path in paths if path.is_file()]  # files in shards cannot be offered
    except InputError as error:
        print(f"without examples: {error}")
        return []


if __name__ == "__main__":
    run_script(main, memory_advice(AppOptions))
