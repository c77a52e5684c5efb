"""From a series to the layers: local and global least squares, posteriors, non-local means, scales of a known pad."""
