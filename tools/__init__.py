"""Commands on the files of an experiment, run as python -m utils.crf, utils.pseudo_masks and utils.report."""
