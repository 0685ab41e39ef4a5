"""User names: two spellings of one name in Unicode are one user (protocol section 3)."""

import unicodedata


def normal_username(name: str) -> str:
    """Return `name` in the form in which names are compared, stored and put into tokens.

    NFC, as in RFC 8265, section 3.4. NFKC would also merge names that look different.
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)
