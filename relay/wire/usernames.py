"""User names: two spellings of one name in Unicode are one user (protocol section 3)."""

import unicodedata

MAX_NAME_CHARS = 255
MAX_SPELLING_CHARS = 4 * MAX_NAME_CHARS
"""NFC makes one character of at most four."""


def normal_username(name: str) -> str:
    """Return `name` in the form in which names are compared, stored and put into tokens.

    NFC, as in RFC 8265, section 3.4. NFKC would also merge names that look different. A text that
    is too long for any name is returned as it is: the time for NFC may grow with the square of its
    length.
    """
    if name.isascii() or len(name) > MAX_SPELLING_CHARS:
        return name
    return unicodedata.normalize("NFC", name)
