"""Checkpoints: whole or absent, never executed, loaded completely."""

import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from utils.errors import InputError
from utils.training.checkpoint import load_file, load_strictly, save_file, state_dict_of


class Bomb:
    """Creates a file where it is unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


class Unpicklable:
    """Fails in the middle of being saved."""

    def __reduce__(self):
        raise RuntimeError("no way")


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_what_is_saved_is_loaded(tmp_path):
    save_file({"model": {"w": torch.arange(6.0).view(2, 3)}, "epoch": 7, "names": ["a"]}, tmp_path / "last.pth")
    content = load_file(tmp_path / "last.pth")
    assert torch.equal(content["model"].pop("w"), torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]))
    assert content == {"model": {}, "epoch": 7, "names": ["a"]}


def test_saving_makes_the_folder(tmp_path):
    save_file({"epoch": 1}, tmp_path / "run" / "ckpt" / "last.pth")
    assert load_file(tmp_path / "run" / "ckpt" / "last.pth") == {"epoch": 1}


def test_saving_leaves_nothing_but_the_file(tmp_path):
    save_file({"epoch": 1}, tmp_path / "last.pth")
    assert [p.name for p in tmp_path.iterdir()] == ["last.pth"]


def test_saving_replaces_an_older_file(tmp_path):
    save_file({"epoch": 1}, tmp_path / "last.pth")
    save_file({"epoch": 2}, tmp_path / "last.pth")
    assert load_file(tmp_path / "last.pth") == {"epoch": 2}


def test_a_failure_while_saving_leaves_the_old_file_intact(tmp_path):
    save_file({"epoch": 1}, tmp_path / "last.pth")
    with pytest.raises(RuntimeError, match="no way"):
        save_file({"w": torch.zeros(1000), "rest": Unpicklable()}, tmp_path / "last.pth")
    assert load_file(tmp_path / "last.pth") == {"epoch": 1}


def test_a_failure_while_saving_leaves_no_file_where_none_was(tmp_path):
    with pytest.raises(RuntimeError, match="no way"):
        save_file({"rest": Unpicklable()}, tmp_path / "last.pth")
    assert not (tmp_path / "last.pth").exists()


def test_a_file_may_be_replaced_while_its_tensors_are_in_use(tmp_path):
    save_file({"w": torch.ones(5000)}, tmp_path / "last.pth")
    old = load_file(tmp_path / "last.pth")
    save_file({"w": torch.zeros(5000)}, tmp_path / "last.pth")
    assert old["w"].sum() == 5000


def test_files_of_the_older_format_are_read(tmp_path):
    torch.save({"w": torch.ones(3)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert load_file(tmp_path / "old.pth")["w"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("new_format", [True, False])
def test_code_in_a_checkpoint_is_refused(tmp_path, new_format):
    torch.save({"w": Bomb(tmp_path / "ran")}, tmp_path / "evil.pth", _use_new_zipfile_serialization=new_format)
    with pytest.raises(InputError, match=r"evil\.pth could run code and is refused: it refers to getattr"):
        load_file(tmp_path / "evil.pth")


@pytest.mark.parametrize("new_format", [True, False])
def test_code_in_a_checkpoint_does_not_run(tmp_path, new_format):
    torch.save({"w": Bomb(tmp_path / "ran")}, tmp_path / "evil.pth", _use_new_zipfile_serialization=new_format)
    with pytest.raises(InputError):
        load_file(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_network_is_refused(tmp_path):
    torch.save(network(), tmp_path / "net.pth")
    with pytest.raises(InputError, match=r"net\.pth could run code and is refused: it refers to torch\.nn"):
        load_file(tmp_path / "net.pth")


def test_a_missing_checkpoint_is_named_with_the_hint(tmp_path):
    with pytest.raises(InputError, match=r"gone\.pth is missing\. Get it from the release"):
        load_file(tmp_path / "gone.pth", "Get it from the release")


def test_a_missing_checkpoint_without_hint_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.pth is missing$"):
        load_file(tmp_path / "gone.pth")


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match="is missing"):
        load_file(tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.7])
def test_a_truncated_checkpoint_is_refused_by_name(tmp_path, share):
    path = tmp_path / "last.pth"
    save_file({"w": torch.arange(1000.0)}, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"last\.pth is no PyTorch checkpoint or is damaged"):
        load_file(path)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "epoch": 3},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
    ],
    ids=["top", "model", "top of several processes", "model of several processes"],
)
def test_parameters_are_found_in_every_usual_place(wrap):
    state = {"a.weight": torch.zeros(2), "b": torch.ones(1)}
    assert state_dict_of(wrap(state), Path("x.pth")) == state


def test_only_a_leading_prefix_is_removed():
    assert list(state_dict_of({"net.module.weight": torch.zeros(1)}, Path("x.pth"))) == ["net.module.weight"]


@pytest.mark.parametrize(
    "content",
    [{}, {"epoch": 3}, [torch.zeros(1)], 3, {"model": {}}, {"model": {"w": torch.zeros(1), "epoch": 3}}, torch.zeros(2)],
    ids=["empty", "no tensor", "list", "number", "empty model", "number among tensors", "tensor"],
)
def test_a_file_without_parameters_is_refused_by_name(content):
    with pytest.raises(InputError, match=r"x\.pth holds no parameters, neither at its top nor under 'model'"):
        state_dict_of(content, Path("x.pth"))


def test_strict_loading_takes_every_value():
    source, target = network(0), network(1)
    load_strictly(target, source.state_dict(), Path("x.pth"))
    loaded, expected = target.state_dict(), source.state_dict()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("0.bias"), r"x\.pth does not fit the network: 0\.bias is missing"),
        (lambda s: s.pop("1.running_mean"), r"1\.running_mean is missing"),
        (lambda s: s.update({"head.bias": torch.zeros(1)}), r"head\.bias is not known"),
        (lambda s: s.update({"0.weight": torch.zeros(4, 2)}), r"0\.weight is \(4, 2\), not \(4, 3\)"),
        (lambda s: s.update({"0.bias": torch.tensor([0, 1, 2, torch.nan])}), r"0\.bias is not finite"),
        (lambda s: s.update({"0.bias": torch.tensor([0, 1, 2, torch.inf])}), r"0\.bias is not finite"),
    ],
    ids=["missing", "missing buffer", "unknown", "shape", "nan", "inf"],
)
def test_strict_loading_names_what_differs(change, message):
    state = network().state_dict()
    change(state)
    with pytest.raises(InputError, match=message):
        load_strictly(network(), state, Path("x.pth"))


def test_strict_loading_names_four_and_counts_the_rest():
    with pytest.raises(InputError, match=r"0\.weight is missing; 0\.bias .*; 1\.weight .*; 1\.bias is missing and 3 more$"):
        load_strictly(network(), {}, Path("x.pth"))


def test_refused_parameters_leave_the_network_as_it_was():
    target = network(1)
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(InputError):
        load_strictly(target, {**network(0).state_dict(), "more": torch.zeros(1)}, Path("x.pth"))
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


def test_ignored_prefixes_may_be_in_the_file():
    state = {**network(0).state_dict(), "decoder.weight": torch.zeros(1), "decoder.bias": torch.full((1,), torch.nan)}
    target = network(1)
    load_strictly(target, state, Path("x.pth"), ignore=("decoder.",))
    assert torch.equal(target[0].weight, state["0.weight"])


def test_mapped_parameters_load_from_a_file(tmp_path):
    save_file({"model": network(0).state_dict()}, tmp_path / "net.pth")
    target = network(1)
    load_strictly(target, state_dict_of(load_file(tmp_path / "net.pth"), tmp_path / "net.pth"), tmp_path / "net.pth")
    assert torch.equal(target[0].weight, network(0)[0].weight)


@pytest.mark.parametrize("share", [0, 0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_cut_anywhere_is_refused_by_name(tmp_path, share, zipped):
    path = tmp_path / "cut.pth"
    torch.save({"weight": torch.randn(1000)}, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"cut\.pth is no PyTorch checkpoint or is damaged"):
        load_file(path)


@pytest.mark.parametrize(
    "text", ["<!DOCTYPE html><title>Not Found</title>", "see the other file", '{"a": 1}', "version https://git"]
)
def test_a_text_file_is_no_checkpoint(tmp_path, text):
    path = tmp_path / "page.pth"
    path.write_text(text)
    with pytest.raises(InputError, match=r"page\.pth is no PyTorch checkpoint"):
        load_file(path)


def test_a_checkpoint_that_claims_to_be_one_of_several_archives_is_refused_by_name(tmp_path):
    save_file({"w": torch.ones(3)}, tmp_path / "a.pth")
    data = bytearray((tmp_path / "a.pth").read_bytes())
    locator = data.index(b"PK\x06\x07")
    data[locator + 16] = 7  # the number of disks
    (tmp_path / "a.pth").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.pth is damaged: BadZipFile"):
        load_file(tmp_path / "a.pth")


def test_a_compressed_checkpoint_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(1 << 20))
    with pytest.raises(InputError, match=r"a\.pth is damaged: it is compressed"):
        load_file(tmp_path / "a.pth")
