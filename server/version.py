"""The version, as the installed distribution says it."""

from importlib.metadata import version

VERSION = version("hearth")
