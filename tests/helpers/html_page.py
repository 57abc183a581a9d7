"""Reads an HTML page."""

from html.parser import HTMLParser

_VOID = {"meta", "br", "hr"}


class Page(HTMLParser):
    """Extracts the elements and texts of a page, and checks that all elements are closed in the right order.

    `elements` has the name and the attributes of each element. `text` has the texts, except for styles.
    `links` has the targets of the links by their first text.
    """

    def __init__(self, html):
        super().__init__()
        self.elements, self.text, self.links = [], [], {}
        self._texts, self._open = {}, []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        """Record the start of an element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        """Check the end of an element."""
        assert self._open.pop() == tag

    def handle_data(self, data):
        """Record text, and the target if it is the text of a link."""
        if not data.strip():
            return
        innermost = self._open[-1]
        self._texts.setdefault(innermost, data)
        if innermost != "style":
            self.text.append(data)
        if innermost == "a":
            self.links[data] = self.elements[-1][1]["href"]

    def first_text(self, tag):
        """Return the text of the first element with this name."""
        return self._texts[tag]

    @property
    def targets(self):
        """The targets of all links."""
        return [attrs["href"] for tag, attrs in self.elements if tag == "a"]

    @property
    def ids(self):
        """The IDs of all elements."""
        return [attrs["id"] for _, attrs in self.elements if "id" in attrs]
