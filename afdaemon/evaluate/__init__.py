"""Measuring the scorers of single frames: frames whose truth is known, what is said of them, and what must hold."""
