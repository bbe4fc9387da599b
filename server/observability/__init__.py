"""Logs, metrics and request traces."""
