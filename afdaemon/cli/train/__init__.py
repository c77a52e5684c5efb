"""`afdaemon train`."""
