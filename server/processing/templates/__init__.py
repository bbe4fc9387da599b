"""Templates that clients write: Jinja in a sandbox, or plain fields, with a budget for their work."""
