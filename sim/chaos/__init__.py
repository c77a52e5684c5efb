"""Chaos between a driver and an instrument: what a cable, a network or a shared folder does on a bad day."""
