"""Frames with their truth: for training, evaluation and pictures."""
