"""The evaluation of AENet: one module per section."""
