"""Benchmarks of time and memory, and the ablation."""
