"""Graphs for other programs: the values of PyTorch at every size, or nothing."""

import pytest
import torch
from torch.nn.functional import interpolate

from models import load_cam_model, load_seg_model
from models.trained import exporters
from models.trained.graph import CamGraph, antialiased_bicubic, bicubic
from tests.helpers.trained import cam_experiment, seg_experiment
from tools import export
from utils.errors import InputError

SMALL_DINO = {"backbone": "vit_small_patch14_dinov2", "input_size": 56, "backbone_options": ("depth=2", "embed_dim=48")}
STEM = {"stem": "test_efficientnet", "stem_levels": (2, 3), "patch_size": 16}
SAME = {"stem": "efficientnet_lite0", "stem_levels": (3, 4), "patch_size": 16}  # TensorFlow's padding
FAMILIES = {"deit": {}, "spread": {"cam": "spread"}, "dinov2": SMALL_DINO, "stem": STEM, "same": SAME}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_recorded_is_what_the_network_computes(tmp_path, family):
    """Before any exporter comes in; at more sizes than the command checks."""
    net = load_cam_model(cam_experiment(tmp_path, **FAMILIES[family]), device="cpu").net
    graph = CamGraph(net)
    for h, w in ((4, 4), (1, 7), (3, 9), (17, 17)):
        image = torch.rand(1, 3, h * net.patch_size, w * net.patch_size)
        with torch.no_grad():
            for ours, expected in zip(graph(image), exporters.reference(net, image), strict=True):
                torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("new", [3, 14, 15, 40])
def test_positions_are_resized_as_pytorch_does(new):
    x = torch.rand(1, 2, 14, 6)
    theirs = interpolate(x, scale_factor=((new + 0.1) / 14, 1), mode="bicubic")
    torch.testing.assert_close(bicubic(14, new, 14 / (new + 0.1), x) @ x, theirs, atol=1e-5, rtol=0)
    theirs = interpolate(x, (new, 6), mode="bicubic", antialias=True)
    torch.testing.assert_close(antialiased_bicubic(14, new, 14 / new, x) @ x, theirs, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(  # half of the pairs, because each takes a minute; an ONNX file is made from torch.export's graph
    ("family", "format"), [("deit", "torch"), ("dinov2", "onnx"), ("stem", "onnx"), ("same", "torch"), ("seg", "onnx")]
)
def test_a_graph_agrees_at_three_sizes(tmp_path, capsys, family, format):
    if format == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    if family == "seg":
        seg_experiment(tmp_path, "run")
    else:
        cam_experiment(tmp_path, **FAMILIES[family])
    export.main(f"--name run --experiments {tmp_path} --out {tmp_path}/export --format {format}".split())
    unit = {"deit": 8, "dinov2": 14, "stem": 16, "same": 16, "seg": 32}[family]
    assert f"sides multiples of {unit} pixels" in capsys.readouterr().out
    assert (tmp_path / "export" / "run" / exporters.FILES[format]).stat().st_size > 10_000


def test_a_graph_that_disagrees_is_not_written(tmp_path, monkeypatch):
    net = load_cam_model(cam_experiment(tmp_path), device="cpu").net
    content = b"graph", lambda image: [one + 1e-3 for one in exporters.reference(net, image)]
    monkeypatch.setattr(exporters, "record", lambda graph: None)
    monkeypatch.setattr(exporters, "as_onnx", lambda program, outputs: content)
    with pytest.raises(InputError, match=r"--format onnx does not agree with PyTorch: cams of 40 x 24 pixels differ by"):
        exporters.export_graph(net, tmp_path, "onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_an_operation_that_an_exporter_does_not_know_is_one_line(tmp_path, monkeypatch):
    net = load_seg_model(seg_experiment(tmp_path), device="cpu").net
    monkeypatch.setattr(exporters, "record", lambda graph: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(InputError, match=r"^--format torch cannot export this network: RuntimeError: .*$"):
        exporters.export_graph(net, tmp_path, "torch")


@pytest.mark.slow
def test_positions_that_are_recorded_for_one_size_are_refused(tmp_path):
    small = {"backbone": "vit_small_patch16_dinov3", "input_size": 64, "backbone_options": ("depth=2", "embed_dim=48")}
    net = load_cam_model(cam_experiment(tmp_path, **small), device="cpu").net
    with pytest.raises(InputError, match=r"^--format torch cannot export this network: .*$"):
        exporters.export_graph(net, tmp_path, "torch")
    assert not (tmp_path / "model.pt2").exists()


def test_missing_libraries_are_named(monkeypatch):
    monkeypatch.setattr(exporters.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs onnx, onnxscript, onnxruntime: pip install -r requirements-export"):
        exporters.require_onnx()
