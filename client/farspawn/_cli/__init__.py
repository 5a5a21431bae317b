"""The command `farspawn`, for whoever drives sites. The library does not need it."""

from farspawn._cli.app import main

__all__ = ["main"]
