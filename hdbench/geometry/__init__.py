"""Geometry: occupancy, isosurfaces, surface points, normalisation, rendering. Knows nothing of runs or files."""
