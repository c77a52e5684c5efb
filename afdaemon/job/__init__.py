"""Jobs: carrying the decisions of `afdaemon.control` out, and their journal."""
