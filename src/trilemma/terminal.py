"""What may be written on a terminal."""

import re


def printable(text: str) -> str:
    """Text without control characters but line breaks and tabs: names cannot steer a terminal."""
    return re.sub(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]|[\u202a-\u202e\u2066-\u2069]", "", text)
