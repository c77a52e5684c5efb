"""Single frames before any network: sampling, streaks, noise, spectrum, and reasons to doubt them."""
