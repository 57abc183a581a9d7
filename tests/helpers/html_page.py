"""Reads an HTML page."""

from html.parser import HTMLParser

_VOID = {"meta", "br", "hr", "input", "link"}


class Element:
    """An element of a page. `content` has the elements and texts in it, in order."""

    def __init__(self, tag, attrs):
        self.tag = tag
        self.attrs = attrs
        self.content = []

    @property
    def text(self):
        """All text in the element except for styles, with single spaces."""
        return " ".join("".join(self._texts()).split())

    def _texts(self):
        for each in self.content:
            if isinstance(each, str):
                yield each
            elif each.tag != "style":
                yield from each._texts()

    def all(self, tag=None, **attrs):
        """Return the elements below this one with this tag and these attributes, in order. `class_` is one class."""
        found = []
        for each in self.content:
            if isinstance(each, Element):
                if each.matches(tag, attrs):
                    found.append(each)
                found += each.all(tag, **attrs)
        return found

    def one(self, tag=None, **attrs):
        """Return the only element that `all` finds."""
        (element,) = self.all(tag, **attrs)
        return element

    def matches(self, tag, attrs):
        """Return whether the element has this tag and these attributes."""
        attrs = dict(attrs)
        class_ = attrs.pop("class_", None)
        return (
            tag in {None, self.tag}
            and (class_ is None or class_ in self.attrs.get("class", "").split())
            and all(self.attrs.get(name) == value for name, value in attrs.items())
        )


class Page(HTMLParser):
    """Extracts the elements and texts of a page, and checks that all elements are closed in the right order.

    `root` contains the page. `elements` has the name and the attributes of each element. `text` has the texts, except
    for styles. `links` has the targets of the links by their text.
    """

    def __init__(self, html):
        super().__init__()
        self.root = Element("", {})
        self.elements, self.text = [], []
        self._open = [self.root]
        self.feed(html)
        self.close()
        assert self._open == [self.root]

    def handle_starttag(self, tag, attrs):
        """Record the start of an element."""
        element = Element(tag, dict(attrs))
        self._open[-1].content.append(element)
        self.elements.append((tag, element.attrs))
        if tag not in _VOID:
            self._open.append(element)

    def handle_endtag(self, tag):
        """Check the end of an element."""
        assert self._open.pop().tag == tag

    def handle_data(self, data):
        """Record text."""
        self._open[-1].content.append(data)
        if data.strip() and self._open[-1].tag != "style":
            self.text.append(data)

    def first_text(self, tag):
        """Return the text of the first element with this name."""
        return self.root.all(tag)[0].text

    @property
    def links(self):
        """The targets of the links, by their text."""
        return {link.text: link.attrs["href"] for link in self.root.all("a")}

    @property
    def targets(self):
        """The targets of all links."""
        return [attrs["href"] for tag, attrs in self.elements if tag == "a"]

    @property
    def ids(self):
        """The IDs of all elements."""
        return [attrs["id"] for _, attrs in self.elements if "id" in attrs]
