"""Networks, their preprocessing, training and weights. Import name `afdaemon.models`."""
