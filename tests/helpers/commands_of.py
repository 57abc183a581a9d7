"""Finds the commands in documents."""

import re
import textwrap

_BLOCK = re.compile(r"^( *)```sh\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


def commands_of(text):
    """Return the blocks of shell commands in a Markdown text, in their order and without indentation."""
    return [textwrap.dedent(block) for _, block in _BLOCK.findall(text)]
