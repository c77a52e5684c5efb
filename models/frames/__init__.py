"""Single frames before any network: sampling, streaks, noise, spectrum, and what they are doubted for."""
