"""A distribution over where the focus lies, from all of a job's readings: tokens, network, training."""
