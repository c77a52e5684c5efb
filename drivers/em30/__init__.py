"""Drivers of the COXEM EM-30, one module per link."""
