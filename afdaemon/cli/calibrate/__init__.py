"""`afctl calibrate`."""
