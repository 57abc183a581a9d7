"""Renders the runbooks as HTML pages, which the exporter serves. The package build and `make generate` write them."""

from __future__ import annotations

import itertools
import posixpath
import re
from collections import Counter
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

FOLDER = "exporter/web/pages/html"
"""The folder of the pages in the repository and in the package."""
OWNED = f"{FOLDER}/*.html"
"""Only these files are generated here, so one that `files` does not return is obsolete."""
INDEX = "README"
"""The name of the runbook that introduces the others. Its page also lists them."""

_RUNBOOKS = Path(__file__).with_name("runbooks")
_BASE_STYLE = Path(__file__).parents[1] / "exporter" / "web" / "pages" / "base.css"
"""The style that all pages of the exporter have."""
_MAX_FLAG = 36
"""Characters of code that fit into a line of the smallest screen."""
_REPOSITORY_PATH = "docs/runbooks"
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{base}body {{ max-width: 52rem; }}
h1 {{ margin: 1rem 0; }}
code {{ background: var(--raised); border-radius: .2rem; padding: .1em .25em; }}
.flag {{ white-space: nowrap; }}
pre {{ background: var(--raised); border-radius: .3rem; padding: .6rem .8rem; overflow-x: auto; }}
pre code {{ background: none; padding: 0; overflow-wrap: normal; }}
ol, ul {{ padding-left: 1.5rem; }}
li {{ margin: .25rem 0; }}
.table {{ overflow-x: auto; }}
table {{ border-collapse: collapse; margin: 1rem 0; overflow-wrap: break-word; }}
th, td {{ text-align: left; padding: .2rem 1.5rem .2rem 0; vertical-align: top; }}
td:last-child {{ padding-right: 0; overflow-wrap: anywhere; }}
thead {{ color: var(--quiet); }}
tbody tr {{ border-top: 1px solid var(--line); }}
nav {{ border-bottom: 1px solid var(--line); padding-bottom: 1rem; display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; }}
</style>
</head>
<body>
<nav><a href="../">Telnyx exporter</a> <a href="./">Runbooks</a> <a href="./#all-runbooks">All runbooks</a></nav>
<main>
{body}</main>
</body>
</html>
"""


def pages(folder: Path = _RUNBOOKS) -> dict[str, str]:
    """Return the HTML pages of the Markdown files in a folder, by name. The index has the name `index`."""
    texts = {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("*.md"))}
    if INDEX not in texts or len(texts) == 1:
        raise FileNotFoundError(f"{folder}: there are no runbooks to render")
    documents = {name: _Document(text, texts.keys()) for name, text in texts.items()}
    introduction = documents.pop(INDEX)
    result = {name: _page(document.title, document.body) for name, document in documents.items()}
    result["index"] = _page(introduction.title, introduction.body + _list(documents))
    return result


def files() -> dict[str, str]:
    """Return the pages by their paths in the repository."""
    return {f"{FOLDER}/{name}.html": page for name, page in pages().items()}


def _page(title: str, body: str) -> str:
    return _PAGE.format(title=f"{escape(title)} - Telnyx exporter", base=_BASE_STYLE.read_text("utf-8"), body=body)


def _list(documents: dict[str, _Document]) -> str:
    """Return the list of all runbooks, each with its first sentence."""
    rows = (f'<li><a href="{name}">{name}</a><br>{document.summary}</li>\n' for name, document in documents.items())
    return f'<h2 id="all-runbooks">All runbooks</h2>\n<ul>\n{"".join(rows)}</ul>\n'


class _Document:
    """A runbook: its title, the HTML of its first paragraph, and its whole HTML."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        tokens = list(_with_scrolling_tables(_MARKDOWN.parse(text)))
        _set_heading_ids(tokens)
        for token in tokens:
            if token.children is not None:
                token.children = list(_adapted(token.children, names))
        inline = [token for token in tokens if token.type == "inline"]
        self.title = _plain_text(inline[0])
        self.summary = _MARKDOWN.renderer.render([inline[1]], _MARKDOWN.options, {})
        body = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
        self.body = body.replace("<pre>", '<pre tabindex="0">')  # the keyboard can scroll it


def _plain_text(token: Token) -> str:
    return "".join(child.content for child in token.children or ())


def _set_heading_ids(tokens: Sequence[Token]) -> None:
    """Give each heading the ID that GitHub gives it."""
    seen: Counter[str] = Counter()
    for heading, content in itertools.pairwise(tokens):
        if heading.type == "heading_open":
            slug = re.sub(r"[^\w\- ]", "", _plain_text(content).lower()).replace(" ", "-")
            heading.attrSet("id", f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1


def _with_scrolling_tables(tokens: Sequence[Token]) -> Iterator[Token]:
    """Yield the tokens, with each table in an element that scrolls if the table is too wide."""
    for token in tokens:
        if token.type == "table_open":
            yield Token("html_block", "", 0, content='<div class="table" tabindex="0">\n')
        yield token
        if token.type == "table_close":
            yield Token("html_block", "", 0, content="</div>\n")


def _adapted(tokens: Sequence[Token], names: Collection[str]) -> Iterator[Token]:
    """Yield the tokens of a text, with links to the pages of other runbooks, and flags that stay in one line.

    A link to another file of the repository becomes its text, followed by the path of the file.
    """
    file = None
    for token in tokens:
        if token.type == "link_open":
            target = str(token.attrs["href"])
            url = urlsplit(target)
            name, extension = posixpath.splitext(url.path)
            fragment = f"#{url.fragment}" if url.fragment else ""
            if url.scheme or url.netloc or not url.path:
                file = None
            elif extension == ".md" and name in names:
                file = None
                token.attrs["href"] = ("./" if name == INDEX else name) + fragment
            else:
                file = posixpath.normpath(posixpath.join(_REPOSITORY_PATH, url.path))
                continue
        elif token.type == "link_close" and file is not None:
            yield Token("text", "", 0, content=f" ({file})")
            file = None
            continue
        elif token.type == "code_inline" and token.content.startswith("-") and len(token.content) <= _MAX_FLAG:
            token.attrSet("class", "flag")  # a line does not end between its dashes
        yield token
