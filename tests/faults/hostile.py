"""Files made to run code or to eat up memory and time: each is refused in one line, and leaves no trace."""

import contextlib
import io
import json
import os
import pickle
import resource
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from PIL import EpsImagePlugin
from scipy.io import savemat
from torch import nn

import evaluation
import infer_trm
import train_diffusion
import train_trm
from datasets.labels.classes import COCO_CLASSES, VOC_CLASSES, class_names
from datasets.layouts.base import open_layout
from datasets.layouts.coco_annotations import load_annotations
from datasets.layouts.voc import VocLayout
from datasets.prepare import sbd_mask, write_coco_mask
from models import build_dig
from tests.helpers.toy_data import make_toy_coco, make_toy_voc, write_lines
from utils.cams.files import read_cam_dict
from utils.cams.masks import read_mask
from utils.errors import InputError
from utils.experiment.folder import read_scores
from utils.experiment.saved import load_run, save_options
from utils.images import open_rgb
from utils.options.training import TrainOptions
from utils.training.checkpoint import load_file, load_strictly, state_dict_of

from . import SMALL_NETWORK, Tally
from .mutations import MOST_MEMORY, SECONDS, Hang, alarm

DEEP = 200_000
BOMB_BYTES = 1 << 29


class Attack(NamedTuple):
    """A hostile file and what reads it."""

    name: str
    read: Callable[[], Any]


class Call:
    """Is unpickled as a call."""

    def __init__(self, function: Callable, *args: object):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


class Network(nn.Linear):
    """A network that runs code where it is unpickled."""

    def __init__(self, canary: Path):
        super().__init__(1, 1)
        self.canary = canary

    def __setstate__(self, state: dict):
        state["canary"].touch()


def try_hostile(folder: Path) -> Tally:
    """Reads every hostile file as the scripts do.

    Args:
        folder: empty; the files go there.

    Returns:
        As survived: those that were refused by an `InputError` of one line, made no canary and took little memory and time.
    """
    canary = folder / "canary"
    survived, failures = 0, []
    (folder / "gs").parent.mkdir(parents=True, exist_ok=True)
    (folder / "gs").write_text(f"#!/bin/sh\ntouch {canary}\n")
    (folder / "gs").chmod(0o755)
    attacks = make_attacks(folder, canary)
    with (
        mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(folder / "cache")}),
        mock.patch.object(EpsImagePlugin, "gs_binary", str(folder / "gs")),
    ):
        for attack in attacks:
            problem = judge(attack, canary)
            canary.unlink(missing_ok=True)
            if problem is None:
                survived += 1
            else:
                failures.append(f"{attack.name}: {problem}")
    return Tally(len(attacks), survived, failures)


def judge(attack: Attack, canary: Path) -> str | None:
    """What an attack achieved; None for nothing."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    try:
        with alarm(SECONDS), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            attack.read()
    except InputError as error:
        problem = f"a message of several lines: {str(error)!r}" if "\n" in str(error) else None
    except Hang:
        problem = f"more than {SECONDS} s"
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    else:
        problem = "it was taken"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before
    if grown > MOST_MEMORY:
        return f"{grown} bytes of memory"
    return "it ran" if canary.exists() else problem


def make_attacks(folder: Path, canary: Path) -> list[Attack]:
    """Writes all hostile files."""
    voc, coco = make_toy_voc(folder / "VOC2012"), make_toy_coco(folder / "COCO2014")
    return [
        *pickles_in_arrays(folder / "dict", canary, voc),
        *checkpoints(folder, canary, voc),
        *annotations(voc),
        *pictures(folder, canary, voc),
        *texts(folder, voc, coco),
        *names(folder, voc),
    ]


def hostile_pickles(canary: Path) -> dict[str, bytes]:
    """Pickles that call something, by several ways to say so."""
    command, write = f"touch {canary}", f"open({str(canary)!r}, 'w').close()"
    system = os.system
    text = b"c_codecs\nencode\n(VAAAAAAAA\nVlatin1\ntR"  # bytes that would be the address of an object
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    shape = b"(I1\n(I1\nt"
    parts = b"N(S'a'\nt(dS'a'\n(cnumpy\ndtype\n(S'O8'\nI0\nI1\ntRI0\nts"
    own = b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR(I3\nS'|'\n" + parts + b"I8\nI1\nI0\ntb"
    unloaded = b"\x80\x04]\x94"
    return {
        "os.system": pickle.dumps({1: Call(system, command)}),
        "os.system of protocol 0": pickle.dumps({1: Call(system, command)}, 0),
        "eval": pickle.dumps({1: Call(eval, f"open({str(canary)!r}, 'w')")}),
        "exec": pickle.dumps({1: Call(exec, write)}),
        "a key": pickle.dumps({Call(system, command): 1}),
        "nested calls": pickle.dumps({1: Call(getattr, Call(__import__, "os"), "system")}),
        "INST": f"(S'{command}'\nios\nsystem\n.".encode(),
        "OBJ": f"(cos\nsystem\nS'{command}'\no.".encode(),
        "a dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        "os by way of numpy": b"\x80\x04\x8c\x0anumpy.core\x8c\x09os.system\x93\x8c\x04true\x85R.",
        "numpy's way to code": f"cnumpy.testing._private.utils\nrunstring\n(S'{write}'\n}}tR.".encode(),
        "numpy.load": f"cnumpy\nload\n(S'{canary}'\ntR.".encode(),
        "numpy.memmap": f"cnumpy\nmemmap\n(S'{canary}'\nS'uint8'\nS'w+'\nI0\n(I4\nttR.".encode(),
        "ctypes": f"cctypes\nCDLL\n(S'{canary}'\ntR.".encode(),
        "a persistent id": b"Pid\n.",
        "a persistent id in binary": b"\x80\x04\x8c\x02idQ.",
        "an extension code": b"\x82\x01.",
        "a module's attribute set": b"cnumpy\nndarray\n(N}S'tobytes'\nI1\nstb.",
        "an array of addresses": b"cnumpy\nndarray\n((I1\ntcnumpy\ndtype\n(S'O'\ntR" + text + b"tR.",
        "content of addresses": made + shape + b"cnumpy\ndtype\n(S'O'\ntRI00\n" + text + b"tb.",
        "content of addresses by a type of its own": made + shape + own + b"I00\n" + text + b"tb.",
        "a place in the memo far away": unloaded + b"r" + struct.pack("<I", 0x3FFFFFFF) + b".",
        "a string longer than memory": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b".",
        "a byte array of gigabytes": b"\x80\x05\x96" + struct.pack("<Q", 1 << 33) + b".",
        "codecs that double": b"c_codecs\nencode\n" * 40 + b"(Vx\nVlatin1\ntR" + b"Vhex\n\x86R" * 39 + b".",
        "a key that takes for ever to hash": b"}(" + b")" + b"2\x86" * 60 + b"K\x01u.",
        "a set that takes for ever to hash": b"\x80\x04\x8f()" + b"2\x86" * 60 + b"\x90.",
        "a key that is too deep to hash": b"}(" + b")" + b"\x85" * DEEP + b"K\x01u.",
    }


def pickles_in_arrays(folder: Path, canary: Path, voc: Path) -> list[Attack]:
    """CAM dicts; some are scored by the script too."""
    folder.mkdir()
    attacks = []
    for i, (name, data) in enumerate(hostile_pickles(canary).items()):
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        path = folder / f"{i}.npy"
        path.write_bytes(file.getvalue() + data)
        attacks.append(Attack(f"npy: {name}", lambda path=path: read_cam_dict(path)))
    for name, header in {
        "a shape beyond memory": "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 1048576), }",
        "a header of code": "{'descr': '|O', 'fortran_order': False, 'shape': __import__('os').system('true'), }",
        "a header of brackets": "(" * 9000,
    }.items():
        path = folder / f"{name}.npy"
        text = header.ljust(1 << 14).encode()
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
        attacks.append(Attack(f"npy: {name}", lambda path=path: read_cam_dict(path)))
    scored = folder.with_name("scored")
    scored.mkdir()
    (scored / "2007_000000.npy").write_bytes((folder / "0.npy").read_bytes())
    listed = write_lines(folder.with_name("one.txt"), "2007_000000")
    line = f"--dict_dir {scored} --gt_dir {voc}/SegmentationClass --list {listed} --num_workers 1".split()
    return [*attacks, Attack("evaluation.py: os.system", lambda: evaluation.main(line))]


def checkpoints(folder: Path, canary: Path, voc: Path) -> list[Attack]:
    """Checkpoints of both formats; some are read by the scripts too."""
    options = TrainOptions(
        name="run",
        exp="dig_nano",
        experiments=str(folder),
        data_path=str(voc),
        **SMALL_NETWORK,
    )
    save_options(options, VOC_CLASSES)
    net = build_dig(20, lfca=False, **options.architecture)
    place = folder / "ckpt"
    place.mkdir()
    files = {}
    for form, zipped in (("new", True), ("old", False)):
        for name, content in {
            "os.system": Call(os.system, f"touch {canary}"),
            "eval": Call(eval, f"open({str(canary)!r}, 'w')"),
            "a network": Network(canary),
            "getattr": Call(getattr, Call(__import__, "os"), "system"),
        }.items():
            path = files[f"{form}: {name}"] = place / f"{form} {name}.pth"
            torch.save({"model": {"w": content}}, path, _use_new_zipfile_serialization=zipped)
    torch.save(net.state_dict(), place / "good.pth")
    for name, data in hostile_pickles(canary).items():
        if "hash" in name:
            continue  # PyTorch's own reader, which is asked for these, hashes keys
        path = files[f"new: {name}"] = place / f"pickle {len(files)}.pth"
        with zipfile.ZipFile(place / "good.pth") as good, zipfile.ZipFile(path, "w") as archive:
            for entry in good.infolist():
                archive.writestr(entry.filename, data if entry.filename.endswith("data.pkl") else good.read(entry))
        path = files[f"bare: {name}"] = place / f"bare {len(files)}.pth"
        path.write_bytes(data)
    files["a bomb"] = place / "bomb.pth"
    with zipfile.ZipFile(files["a bomb"], "w", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb/data.pkl", "w") as file:
        for _ in range(BOMB_BYTES >> 20):
            file.write(bytes(1 << 20))
    for name, value in {
        "sparse": torch.eye(20).to_sparse(),
        "meta": torch.empty(1 << 40, device="meta"),
        "expanded": torch.zeros(1).expand(1 << 40),
        "complex": net.state_dict()["cls_token"].to(torch.complex64),
        "NaN": net.state_dict()["cls_token"] * torch.nan,
    }.items():
        files[name] = place / f"{name}.pth"
        torch.save(net.state_dict() | {"cls_token": value}, files[name])

    def read(path: Path) -> None:
        load_strictly(net, state_dict_of(load_file(path), path), path)

    attacks = [Attack(f"pth: {name}", lambda path=path: read(path)) for name, path in files.items()]
    evil, there = files["new: os.system"], f"--experiments {folder} --device cpu --num_workers 0".split()
    train = [*f"--name t --data-path {voc} --epochs 1 --batch-size 2 --exp dig_nano".split(), *there]
    train += ["--diffusion_weights", "random", "--vit_weights", "none"]
    infer = ["--name", "run", "--dict", "--weights", str(evil), *there]
    return [
        *attacks,
        Attack("infer_trm.py --weights", lambda: infer_trm.main(infer)),
        *(
            Attack(f"train_trm.py {flag}", lambda flag=flag: train_trm.main([*train, flag, str(evil)]))
            for flag in ("--vit_weights", "--diffusion_weights")
        ),
    ]


def annotations(voc: Path) -> list[Attack]:
    """XML with entities and without end."""
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
    texts = {
        "billion laughs": f'<!DOCTYPE a [<!ENTITY l0 "cat">{laughs}]><a><object><name>&l11;</name></object></a>',
        "an external entity": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><object><name>&x;</name></object></a>',
        "a parameter entity": '<!DOCTYPE a [<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]><a/>',
        "an external document type": '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        "nothing but beginnings": "<object>" * DEEP,
        "depth and no class": "<object>" * DEEP + "</object>" * DEEP,
    }
    data = {name: text.encode() for name, text in texts.items()}
    data["billion laughs in UTF-16"] = texts["billion laughs"].encode("utf-16")
    attacks = []
    for i, (name, content) in enumerate(data.items()):
        path = voc / "Annotations" / f"evil{i}.xml"
        path.write_bytes(content)
        attacks.append(Attack(f"XML: {name}", lambda path=path: VocLayout(voc).labels([path.stem])))
    return attacks


def png(width: int, height: int, depth: int = 8, kind: int = 3) -> bytes:
    """A PNG whose head promises more than follows."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)), (b"PLTE", bytes(768))]
    chunks += [(b"IDAT", zlib.compress(bytes(1 << 20))), (b"IEND", b"")]
    parts = (struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def pictures(folder: Path, canary: Path, voc: Path) -> list[Attack]:
    """Images and masks that are too large, or programs."""
    postscript = (
        f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n({canary}) (w) file closefile\nshowpage\n"
    )
    contents = {
        "a picture of 10 gigapixels": png(100_000, 100_000),
        "a picture of 100 megapixels": png(10_000, 10_000),
        "a picture of the largest size": png(2**31 - 1, 2**31 - 1, 16, 6),
        "PostScript": postscript.encode(),
        "a large chunk of text": png(4, 4)[:33] + zipped_text() + png(4, 4)[33:],
    }
    attacks = []
    for i, (name, data) in enumerate(contents.items()):
        path = folder / f"picture{i}.png"
        path.write_bytes(data)
        attacks.append(Attack(f"image: {name}", lambda path=path: open_rgb(path)))
        attacks.append(Attack(f"mask: {name}", lambda path=path: read_mask(path, (40, 50), 20)))
    place = folder / "pictures"
    place.mkdir()
    (place / "evil.jpg").write_bytes(postscript.encode())
    line = f"--name d --experiments {folder} --exp dig_nano --data {place} --out {folder}/d.pt --device cpu --num_workers 0"
    return [*attacks, Attack("train_diffusion.py: PostScript", lambda: train_diffusion.main(line.split()))]


def zipped_text() -> bytes:
    """A chunk of a PNG that unpacks to 256 MB."""
    content = b"a\0\0" + zlib.compress(bytes(1 << 28), 9)
    return struct.pack(">I", len(content)) + b"zTXt" + content + struct.pack(">I", zlib.crc32(b"zTXt" + content))


def texts(folder: Path, voc: Path, coco: Path) -> list[Attack]:
    """JSON, lists and tables."""
    attacks = []
    deep = "[" * DEEP + "]" * DEEP
    for name, text in {"depth": deep, "depth in a dict": '{"options": ' + deep + "}", "no end": '{"a":' * DEEP}.items():
        run = folder / f"run {name}"
        run.mkdir()
        (run / "options.json").write_text(text)
        (run / "scores.json").write_text(text)
        path = run / "instances.json"
        path.write_text(text)
        attacks.append(Attack(f"options.json: {name}", lambda run=run: load_run(run)))
        attacks.append(Attack(f"scores.json: {name}", lambda run=run: read_scores(run)))
        attacks.append(Attack(f"instances: {name}", lambda path=path: load_annotations(path, COCO_CLASSES)))
    source = json.loads((coco / "annotations" / "instances_train2014.json").read_text())
    for name, change in {
        "a huge image": {"height": 10**9, "width": 10**9},
        "a name with NUL": {"file_name": "a\0b.jpg"},
        "a name that is a number": {"file_name": 5},
    }.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(source | {"images": [image | change for image in source["images"]]}))
        attacks.append(Attack(f"instances: {name}", lambda path=path: load_annotations(path, COCO_CLASSES)))
    for name, region in {
        "a corner beyond all bounds": [[1e9, 1, 5, 1e9, 9, 9]],
        "a corner that is no number": [[1, 1, float("nan"), 5, 7, 7]],
        "run lengths of another size": {"counts": [1, 399], "size": [10**6, 10**6]},
        "run lengths for no pixel": {"counts": "", "size": [20, 20]},
        "run lengths for too many": {"counts": [2**31], "size": [20, 20]},
    }.items():
        entry = {"id": 1, "category_id": 1, "segmentation": region}
        attacks.append(Attack(f"instances: {name}", lambda entry=entry: drawn(entry)))
    savemat(folder / "large.mat", {"GTcls": {"Segmentation": np.zeros((1, BOMB_BYTES), np.uint8)}}, do_compression=True)
    attacks.append(Attack("mat: a bomb", lambda: sbd_mask(folder / "large.mat")))

    layout = open_layout(voc)
    (folder / "secret.jpg").write_bytes((voc / "JPEGImages" / "2007_000000.jpg").read_bytes())
    for i, line in enumerate(("../../secret", str(folder / "secret"), "..", "a\0b", "x" * 5000, "..\\..\\secret")):
        listed = write_lines(folder / f"list{i}.txt", line)
        attacks.append(Attack(f"list: {line[:20]!r}", lambda listed=listed: used(layout, listed)))
    for i, line in enumerate(("../../x", "a/b", "a\\b", "a\0b", "a\x1b[2J")):
        root = folder / f"classes{i}"
        write_lines(root / "classes.txt", "cat", line)
        attacks.append(Attack(f"classes.txt: {line!r}", lambda root=root: class_names(root)))
    return attacks


def drawn(entry: dict) -> None:
    """Draws an annotation as `datasets.prepare` does."""
    write_coco_mask((Path("never.png"), [entry], 20, 20), {1: 0}, "ignore")


def used(layout: VocLayout, listed: Path) -> None:
    """Takes the images of a list, and their labels."""
    ids = layout.read_list(str(listed))
    layout.labels(ids)
    for image_id in ids:
        layout.image_path(image_id)


def names(folder: Path, voc: Path) -> list[Attack]:
    """Names of experiments that leave their folder, of a flag or of a run's own options."""
    attacks = []
    for name in ("../out", "/tmp/out", "..", "a/../../out", "a\\b"):
        there = ["--name", name, "--experiments", str(folder / "experiment"), "--device", "cpu"]
        train = [*there, "--data-path", str(voc), "--exp", "dig_nano", "--diffusion_weights", "random"]
        attacks += [
            Attack(f"train_trm.py --name {name}", lambda train=train: train_trm.main(train)),
            Attack(f"infer_trm.py --name {name}", lambda there=there: infer_trm.main([*there, "--dict"])),
            Attack(f"evaluation.py --name {name}", lambda there=there: evaluation.main(there[:4])),
            Attack(
                f"train_diffusion.py --name {name}", lambda there=there: train_diffusion.main([*there, "--data", str(voc)])
            ),
        ]
    return attacks
