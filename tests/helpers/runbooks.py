"""Reads the steps of runbooks: the blocks to run, and what they print.

A step has one `sh` or `promql` block. A list follows it. Each item begins with a code span, the pattern of an output:

    1. Is the connection active?

       ```sh
       curl -K ~/.telnyx.curl "$CONNECTION_URL" | jq '.data | {active, updated_at}'
       ```

       - `{"active": true, "updated_at": "2026-11-28T03:12:45Z"}`: it is active.
       - `{"active": false, ...}`: it is disabled.

The whole output of a `sh` block consists of one or more texts that match a pattern. It is empty if a pattern is
`no output`, or if there is no list. In a pattern,

- a number matches any number,
- a word in CAPITALS, such as `NAME`, matches any text, but `SRTP`, `TCP`, `TLS`, `UDP`, `US` and `USD` are themselves,
- `...` matches anything,
- white space doesn't count.

For a `promql` block, the pattern is a value, after labels if they matter, such as `{direction="inbound"} 50`. Each
series of the result has the labels and the value of one pattern. Labels that a pattern doesn't have don't count. If the
pattern is `no result`, the result may be empty. The first block of a page only exports variables.
"""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

RUNBOOKS = sorted((Path(__file__).parents[2] / "docs" / "runbooks").glob("*.md"))
_FENCE = re.compile(r"^ *```(?:sh|promql)$", re.MULTILINE)
_BLOCK = re.compile(r"^( *)```(sh|promql)\n((?:.*\n)*?)\1```\n((?:\n|\1- .*\n|\1  .*\n)*)", re.MULTILINE)
_ITEM = re.compile(r"^ *- `([^`]+)`", re.MULTILINE)
_TOKEN = re.compile(r"(\.\.\.)|(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)|\b(?!SRTP|TCP|TLS|UDP|USD?\b)([A-Z][A-Z_]+)\b")
_NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Step:
    """A block of a runbook."""

    number: int
    language: str
    command: str
    patterns: tuple[str, ...]

    def accepts_output(self, output):
        """Whether the output of a command is documented."""
        text = "".join(output.split())
        if not text:
            return "no output" in self.patterns or not self.patterns
        patterns = [_expression(pattern) for pattern in self.patterns if pattern != "no output"]
        return bool(patterns) and re.fullmatch(f"(?:{'|'.join(patterns)})+", text, re.DOTALL) is not None

    def accepts_result(self, series):
        """Whether the result of a query is documented. It consists of pairs of labels and a value."""
        if not series:
            return "no result" in self.patterns
        return all(any(_is_series(pattern, *each) for pattern in self.patterns) for each in series)

    @property
    def exports(self):
        """Whether the block only exports variables."""
        return all(re.match(r"export [A-Z_]+=", line) for line in self.command.splitlines())


def steps(page):
    """Return the blocks of a runbook in their order."""
    text = page.read_text()
    found = _BLOCK.findall(text)
    assert len(found) == len(_FENCE.findall(text)), "a block has no end, or an unusual indentation"
    return [
        Step(number, language, textwrap.dedent(command), tuple(_ITEM.findall(outputs)))
        for number, (_, language, command, outputs) in enumerate(found, 1)
    ]


def _expression(pattern):
    """Return the regular expression for a pattern. It has no white space."""
    parts, end = [], 0
    for match in _TOKEN.finditer(pattern):
        anything, number, _ = match.groups()
        parts += [_literal(pattern[end : match.start()]), ".*?" if anything else _NUMBER if number else ".*?"]
        end = match.end()
    return "".join([*parts, _literal(pattern[end:])])


def _literal(text):
    return re.escape("".join(text.split()))


def _is_series(pattern, labels, value):
    expected, _, number = pattern.rpartition("} ")
    if not re.fullmatch(_expression(number), value):
        return False
    found = {name: "".join(text.split()) for name, text in labels.items()}
    return all(re.fullmatch(_expression(text), found.get(name, "")) for name, text in _LABEL.findall(expected))
