"""HyperDiffusion: diffusion over the weights of neural occupancy fields (Erkoç et al., ICCV 2023)."""
