"""Scorers of single frames on one interface: AENet, the networks it is compared with, and classical functions."""
