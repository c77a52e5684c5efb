"""The bridge: a program of one file for the PC that the vendor's software runs on."""
