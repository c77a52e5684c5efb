"""Networks that score single frames: the published AENet, and those that Kim et al. 2019 compared."""
