"""The instrument side of each link: what a simulated EM-30 sends and receives on its wires."""
