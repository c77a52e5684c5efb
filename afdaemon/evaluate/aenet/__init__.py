"""The evaluation of AENet: one module a section."""
