"""Every decision about the instrument, as pure functions."""
