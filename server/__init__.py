"""Hearth's HTTP side: dialects, scheduling and operations. Never imports torch."""

from importlib.metadata import version

VERSION = version("hearth")
