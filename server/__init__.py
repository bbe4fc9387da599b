"""Hearth's server: HTTP, processing, scheduling and operations. Never imports torch."""

from importlib.metadata import version

VERSION = version("hearth")
