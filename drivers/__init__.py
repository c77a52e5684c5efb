"""Instruments and their wires: bytes in, frames out. Import names live under `afdaemon.drivers`."""
