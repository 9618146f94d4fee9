"""DPC: diffusion of single points given a latent of the whole shape, with a flow as the latent's prior."""
