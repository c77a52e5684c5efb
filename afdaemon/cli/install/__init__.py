"""`afdaemon install`: the files of a system service."""
