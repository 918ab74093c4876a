"""CRF scores and pseudo-masks: one piece of code writes them."""

import ast

import pytest

from tests.helpers import ROOT


@pytest.mark.parametrize("path", ["infer_trm.py", "tools/crf.py", "tools/masks.py"])
def test_commands_write_scores_and_masks_through_their_one_place(path):
    names = {
        alias.name
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert names & {"CrfFiles", "MaskFiles"}
    assert not names & {"refine", "write_mask", "score_mask", "threshold_mask", "crf_record", "score_record"}
