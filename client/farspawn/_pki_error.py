"""What goes wrong in the small PKI; apart from it, so that nobody loads cryptography to catch it."""


class PkiError(Exception):
    """It cannot be made or read; the text says why and what to do."""
