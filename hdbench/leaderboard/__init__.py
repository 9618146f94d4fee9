"""Leaderboards: sets of samples that anyone hands in, scored here, checked, ranked and shown as a static site."""
