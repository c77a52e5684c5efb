"""afdaemon: autofocus for scanning electron microscopes, as a service."""

__version__ = "0.1.0"
