"""Autofocus in the ways of others, in our own words: what the procedures of this service are measured against."""
