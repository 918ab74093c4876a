"""Scores of CAMs, masks and labels."""
