"""Names of many images in shared arrays: they are the sequences that they are made of."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from datasets.names import FileNames, Names

TEXTS = ["a", "", "Ünïcode/ü.jpg", "2007_000033", "\udcff"]  # the last: a name that is no UTF-8


def test_names_are_those_that_were_given():
    names = Names(TEXTS)
    assert len(names) == len(TEXTS)
    assert list(names) == TEXTS
    assert [names[i] for i in range(-5, 5)] == TEXTS * 2
    assert names[1:4] == TEXTS[1:4]
    with pytest.raises(IndexError):
        names[5]


def test_paths_are_those_that_were_given_also_in_a_spawned_process():
    paths = [Path("data") / text for text in TEXTS]
    names = pickle.loads(pickle.dumps(FileNames(paths)))
    assert list(names) == paths
    assert names[2:] == paths[2:]
    assert names[np.int64(3)] == paths[3]


def test_there_may_be_none():
    assert list(Names([])) == []
    assert not FileNames([])
