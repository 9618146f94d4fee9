"""Controls: pseudo-methods whose scores are known in advance."""
