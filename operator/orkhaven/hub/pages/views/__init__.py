"""What templates show, out of resources and numbers. Pure: no I/O, the time is a parameter."""
