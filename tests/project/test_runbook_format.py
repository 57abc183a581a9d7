"""The reader of runbooks, which finds their blocks and compares outputs with the documented ones."""

import pytest
from runbooks import RUNBOOKS, Step, steps

PAGE = """
```sh
export ID=1
```

1. A step:

   ```sh
   curl "$ID" \\
     | jq .
   ```

   - `{"active": true}`: one output,
     in two lines. `More` code.
   - `no output`: another one.

   Text.

   - `x`: not an output.

2. A query:

   ```promql
   a
   ```

   - `1`: a result.

```yaml
- a: not run
```

```sh
rm x
```
"""


def test_steps(tmp_path):
    """All blocks of a page are found, without their indentation. Only the list after a block has its outputs."""
    (tmp_path / "page.md").write_text(PAGE)
    found = [(step.number, step.language, step.command, step.patterns) for step in steps(tmp_path / "page.md")]
    assert found == [
        (1, "sh", "export ID=1\n", ()),
        (2, "sh", 'curl "$ID" \\\n  | jq .\n', ('{"active": true}', "no output")),
        (3, "promql", "a\n", ("1",)),
        (4, "sh", "rm x\n", ()),
    ]


@pytest.mark.parametrize("page", ["```sh\ntrue\n", "   ```sh\n   true\n```\n", "1. ```sh\n   x\n   ```\n```sh\nx\n"])
def test_blocks_without_an_end(tmp_path, page):
    """A page with a block that isn't closed at its indentation is rejected."""
    (tmp_path / "page.md").write_text(page)
    with pytest.raises(AssertionError, match="a block has no end"):
        steps(tmp_path / "page.md")


@pytest.mark.parametrize(
    ("output", "patterns", "accepted"),
    [
        ('{\n  "active": true\n}\n', ['{"active": true}'], True),
        ('{"active": false}', ['{"active": true}'], False),
        ('{"active": false}', ['{"active": true}', '{"active": false}'], True),
        ('{"active": null, "limit": -7.5}', ['{"active": null, "limit": 12}'], True),
        ('{"limit": null}', ['{"limit": 12}'], False),
        ('{"limit": null}', ['{"limit": LIMIT}'], True),
        ('{"media": null}', ['{"media": "SRTP"}'], False),
        ('{"active": true, "at": "2026-01-01T00:00:00Z"}', ['{"active": true, ...}'], True),
        ('{"active": true, "at": "2026-01-01T00:00:00Z"}', ['{"active": true, "at": "2025-12-31T10:00:05Z"}'], True),
        ('{"active": true, "at": "yesterday"}', ['{"active": true, "at": "2025-12-31T10:00:05Z"}'], False),
        ("a\nb\na\n", ["a", "b"], True),
        ("list  /path  ok", ["NAME PATH ok"], True),
        ("list  /path  bad", ["NAME PATH ok"], False),
        ("a\nc\n", ["a", "b"], False),
        ("", ["no output"], True),
        ("", ["a"], False),
        ("", [], True),
        ("a", [], False),
        ("a", ["no output"], False),
        ("no output", ["no output"], False),
    ],
)
def test_outputs(output, patterns, accepted):
    """An output is documented if it consists of texts that match patterns, or is empty and may be."""
    assert Step(1, "sh", "", tuple(patterns)).accepts_output(output) == accepted


@pytest.mark.parametrize(
    ("series", "patterns", "accepted"),
    [
        ([], ["no result"], True),
        ([], ["1"], False),
        ([({"a": "b"}, "5")], ["1"], True),
        ([({"a": "b"}, "+Inf")], ["1"], False),
        ([({"a": "b"}, "+Inf")], ["+Inf"], True),
        ([({"a": "b", "c": "d"}, "0.5")], ['{a="b"} 1'], True),
        ([({"a": "b", "c": "d"}, "0.5")], ['{a="c"} 1'], False),
        ([({"a": "b", "c": "d"}, "0.5")], ['{c="d", a="NAME"} 1'], True),
        ([({"a": "b c"}, "1")], ['{a="b c"} 1'], True),
        ([({"a": "b"}, "1"), ({"a": "c"}, "1")], ['{a="b"} 1'], False),
        ([({"a": "b"}, "1"), ({"a": "c"}, "1")], ['{a="b"} 1', '{a="c"} 1'], True),
        ([({}, "1")], ["no result"], False),
    ],
)
def test_results(series, patterns, accepted):
    """A result is documented if each series has the labels and the value of a pattern, or if it is empty and may be."""
    assert Step(1, "promql", "", tuple(patterns)).accepts_result(series) == accepted


def test_runbooks_are_found():
    """There are runbooks to read."""
    assert len(RUNBOOKS) > 30
