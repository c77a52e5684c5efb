"""The running service: what settings, instrument, networks, jobs and doors are put together to."""
