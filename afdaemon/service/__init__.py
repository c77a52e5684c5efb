"""The running service, put together from settings, instrument, networks, jobs and doors."""
