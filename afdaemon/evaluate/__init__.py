"""Measuring the scorers of single frames: frames of known ground truth, what is said of them, and what must hold."""
