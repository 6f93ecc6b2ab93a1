"""Removes credentials from messages: users and passwords of URLs, and bearer tokens."""

import re

# user and password of a URL, such as https://user:password@host
CREDENTIALS = re.compile(r"(?<=://)[^\s/?#'\"]*@")
BEARER = re.compile(r"Bearer [^\s'\"]+")


def without_credentials(text: str) -> str:
    """`text` without the user and password of its URLs."""
    return CREDENTIALS.sub("", text) if "://" in text else text
