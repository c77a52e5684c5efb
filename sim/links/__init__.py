"""The instrument side of each link: what a simulated EM-30 says and hears on its wires."""
