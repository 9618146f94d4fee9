"""Datasets: one module each, found by name in `hdbench.datasets.registry`."""
