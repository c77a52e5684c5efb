"""Grey values, and what of a picture is picture: for drivers, simulator and models alike."""
