"""`afdaemon score`."""
