"""The web page at /: one static file, and a Content-Security-Policy that allows only its own script and style."""

import base64
import hashlib
import re
from importlib.resources import files

from hftool.server.protocols.http_errors import NEVER_CACHED

INLINE = re.compile(rb"<(script|style)\b[^>]*>(.*?)</\1>", re.DOTALL | re.IGNORECASE)


def read_page() -> bytes:
    """Read the page from the package."""
    return files("hftool.server.http").joinpath("page.html").read_bytes()


def page_headers(page: bytes) -> dict[str, str]:
    """The headers of the page. The policy allows its script and style by their hashes, requests to this server, and nothing
    else. https://www.w3.org/TR/CSP3/"""
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, text in INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(text).digest()).decode("ascii")
        hashes[kind.decode("ascii").lower()].append(f"'sha256-{digest}'")
    rules = [f"{kind}-src {' '.join(known)}" for kind, known in hashes.items()]
    closed = ["default-src 'none'", "connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'"]
    policy = "; ".join([*closed, "frame-ancestors 'none'", *rules])
    return {**NEVER_CACHED, "content-security-policy": policy, "referrer-policy": "no-referrer", "x-frame-options": "DENY"}
