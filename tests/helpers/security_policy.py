"""Reads the content security policy of a response."""

import base64
import hashlib

from html_page import Page


def policy_of(response):
    """Return the sources that a response allows, by directive."""
    directives = [directive.split() for directive in response.headers["content-security-policy"].split(";")]
    return {name: sources for name, *sources in directives}


def allowed_style(response):
    """Return the sources of styles that a response allows, which allows nothing else to load."""
    policy = policy_of(response)
    styles = policy.pop("style-src", [])
    assert policy == {
        "default-src": ["'none'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    return styles


def style_hash(html):
    """Return the source that allows the style of a page."""
    (style,) = Page(html).root.all("style")
    return f"'sha256-{base64.b64encode(hashlib.sha256(''.join(style.content).encode()).digest()).decode()}'"
