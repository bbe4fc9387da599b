"""Bodies of requests before they are parsed: their encoding, and bounds on their memory and their JSON."""
