"""The demonstration: a simulated EM-30 and a daemon in processes of their own, and somebody who presses autofocus."""
