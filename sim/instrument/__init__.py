"""The simulated instrument: column, lens, stage, faults, and the world that they share."""
