"""The command lines `afdaemon` and `afctl`."""
