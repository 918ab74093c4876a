"""Helpers of the tests: toy data sets, tiny networks, commands, recorded numbers."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""Root of the repository."""
