"""Jobs: carrying out the decisions of `afdaemon.control`, and their journal."""
