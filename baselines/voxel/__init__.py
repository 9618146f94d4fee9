"""Voxel diffusion: occupancy grids from a 3D U-Net."""
