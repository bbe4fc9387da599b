"""Hearth's HTTP side: dialects, scheduling and operations. Never imports torch."""
