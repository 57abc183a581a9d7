"""The style of pages for people, and the response headers that allow nothing else: no script, image or other style."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

BASE_STYLE = Path(__file__).with_name("base.css")
"""The style that all pages have."""


@functools.cache
def page_headers(style: str = "") -> Mapping[str, str]:
    """Return the headers of a page whose `<style>` element contains this text. An empty text means no style."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    style_source = f"style-src 'sha256-{digest}'; " if style else ""
    return {
        "content-security-policy": (
            f"default-src 'none'; {style_source}form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }
