"""The queue and the scheduler of one device, and the client side that talks to them."""
