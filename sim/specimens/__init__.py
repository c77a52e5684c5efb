"""Specimens: drawn where the beam looks, from a seed alone."""
