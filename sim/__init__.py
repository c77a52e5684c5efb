"""The simulated EM-30. Import name `afdaemon.sim`."""
