"""Set distances: the fast kernels and nothing else."""
