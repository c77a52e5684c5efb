"""Frames with their ground truth: for training, evaluation and pictures."""
