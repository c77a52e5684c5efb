"""`afdaemon sim`."""
