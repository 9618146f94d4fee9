"""Point-Voxel Diffusion."""
