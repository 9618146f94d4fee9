"""Evaluation suite and model zoo for unconditional 3D and 4D shape generation."""

__version__ = "0.1.0"
