"""The published procedure (Lee et al. 2021): its search, its servo and its numbers."""
