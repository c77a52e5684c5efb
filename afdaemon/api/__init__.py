"""The ZeroMQ API: schemas, dispatch, server, events, client."""
