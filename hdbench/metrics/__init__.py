"""Metrics of sets of shapes, and the protocols that say exactly how shapes become numbers."""
