"""The vendor door: plain lines over TCP, for the button in the vendor's software."""
