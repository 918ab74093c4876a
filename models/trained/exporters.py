"""Exports networks as graphs for other programs, checked against PyTorch: model.pt2 (torch.export) and model.onnx."""

import contextlib
import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from utils.errors import InputError
from utils.files import whole_file

from ..dig import DiG
from ..segmentation import SegmentationNet
from .graph import CamGraph, SegGraph

FILES = {"torch": "model.pt2", "onnx": "model.onnx"}
UNITS = (4, 7)
"""Height and width of the image that operations are recorded with, in multiples of the graph's `unit`."""
CHECKED = ((3, 5), (9, 2))
"""Height and width of images that a graph is checked with, in the same multiples; a square image is added."""
MOST = 512
"""Largest side in multiples of `unit`: 8192 pixels for patches of 16."""
TOLERANCE = 1e-4
"""Largest difference to PyTorch, relative to the largest value of an output, or to 1 if that value is smaller."""
OPSET = 18


def export_graph(net: DiG | SegmentationNet, folder: Path, format: str) -> str:
    """Writes the graph of a network.

    Args:
        net: `models.DiG` or `models.SegmentationNet`, on the CPU.
        folder: folder of the file.
        format: torch or onnx.

    Returns:
        A line for the log: the file, its inputs and outputs, and the difference to PyTorch.

    Raises:
        InputError: the network cannot be exported, or the graph gives other values than the network.
    """
    graph = (CamGraph(net) if isinstance(net, DiG) else SegGraph(net)).eval()
    path = folder / FILES[format]
    with quiet():
        try:
            program = record(graph)
            content, run = as_torch(program) if format == "torch" else as_onnx(program, graph.outputs)
            difference = check(run, graph, net, format)
        except InputError:
            raise
        # Exporters raise nearly anything for an operation that they do not support, or support for one size only.
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"--format {format} cannot export this network: {type(error).__name__}: {reason}") from error
    with whole_file(path, durable=True) as file:
        file.write(content)
    sides = f"sides multiples of {graph.unit} pixels"
    return f"{path}: image (1, 3, H, W) in [0, 1], {sides} -> {', '.join(graph.outputs)}; within {difference:.1e} of PyTorch"


def record(graph: CamGraph | SegGraph) -> ExportedProgram:
    """The operations of a graph, for all heights and widths that are multiples of its unit."""
    height, width = (Dim(name, min=2, max=MOST) for name in ("h", "w"))
    image = torch.rand(1, 3, *(n * graph.unit for n in UNITS), generator=torch.Generator().manual_seed(0))
    sizes = {"image": {2: graph.unit * height, 3: graph.unit * width}}
    with torch.no_grad():
        return torch.export.export(graph, (image,), dynamic_shapes=sizes)


def as_torch(program: ExportedProgram) -> tuple[bytes, Callable[[Tensor], Sequence[Tensor]]]:
    """The bytes of a .pt2 file, and a function that runs the program in them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / FILES["torch"]
        torch.export.save(program, file)
        module = torch.export.load(file).module()
        return file.read_bytes(), lambda image: as_sequence(module(image))


def as_onnx(program: ExportedProgram, outputs: Sequence[str]) -> tuple[bytes, Callable[[Tensor], Sequence[Tensor]]]:
    """The bytes of an .onnx file, and a function that runs them in onnxruntime on the CPU."""
    import onnxruntime

    converted = torch.onnx.export(
        program, input_names=["image"], output_names=list(outputs), opset_version=OPSET, dynamo=True, verbose=False
    )
    assert converted is not None
    content = converted.model_proto.SerializeToString()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    return content, lambda image: [torch.from_numpy(one) for one in session.run(None, {"image": image.numpy()})]


@torch.no_grad()
def check(
    run: Callable[[Tensor], Sequence[Tensor]], graph: CamGraph | SegGraph, net: DiG | SegmentationNet, format: str
) -> float:
    """The largest difference between a graph and the network itself, on images of three sizes; see `TOLERANCE`.

    Raises:
        InputError: it is too large.
    """
    generator, worst = torch.Generator().manual_seed(1), 0.0
    side = net.grid_size if isinstance(net, DiG) else UNITS[0]
    for units in (*CHECKED, (side, side)):
        image = torch.rand(1, 3, *(n * graph.unit for n in units), generator=generator)
        for name, ours, expected in zip(graph.outputs, run(image), reference(net, image), strict=True):
            size = f"{image.shape[3]} x {image.shape[2]} pixels"
            if ours.shape != expected.shape:
                raise InputError(f"--format {format}: {name} of {size} are {tuple(ours.shape)}, not {tuple(expected.shape)}")
            difference = float((ours - expected).abs().max() / expected.abs().max().clamp_min(1))
            if not difference <= TOLERANCE:
                raise InputError(
                    f"--format {format} does not agree with PyTorch: {name} of {size} differ by {difference:.1e} of "
                    f"their largest value, more than {TOLERANCE:.0e}; nothing is written"
                )
            worst = max(worst, difference)
    return worst


def reference(net: DiG | SegmentationNet, image: Tensor) -> Sequence[Tensor]:
    """The network's own outputs for an image (1, 3, H, W) in [0, 1], in the order of the graph's outputs."""
    if not isinstance(net, DiG):
        return as_sequence(net(image))
    found = net(net.normalize(image))
    return net.final_cam(found), (found.cls_logits + found.patch_logits) / 2


def as_sequence(found: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    """The outputs of a network with one output or several."""
    return (found,) if isinstance(found, Tensor) else tuple(found)


def require_onnx() -> None:
    """Raises InputError where libraries for ONNX are missing."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"--format onnx needs {', '.join(missing)}: pip install -r requirements-export.txt")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Context without the exporters' warnings about their own internals."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
