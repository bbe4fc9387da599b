"""Processes: start, supervise, drain and stop."""
