"""`make rules`, which writes rules and dashboards with the links of users."""

import functools
import re
import runpy
from pathlib import Path

import pytest
import yaml
from link_files import make_rules

ROOT = Path(__file__).parents[2]
RULES = (ROOT / "prometheus/rules/telnyx.rules.yaml").read_text()
DASHBOARDS = {path.name: path.read_text() for path in (ROOT / "grafana/dashboards").glob("*.json")}
BASES = {"RUNBOOKS": "http://localhost:10142/runbooks", "GRAFANA": "http://localhost:3000"}
check_url = runpy.run_path(str(ROOT / "deploy" / "links.py"))["check_url"]


@pytest.fixture
def make(tmp_path):
    """Return a function that runs `make rules` in `tmp_path`."""
    return functools.partial(make_rules, tmp_path)


def written(folder):
    """Return the rules and the dashboards that were written."""
    dashboards = {path.name: path.read_text() for path in (folder / "build/dashboards").iterdir()}
    return (folder / "build/rules/telnyx.rules.yaml").read_text(), dashboards


def test_links_can_be_changed(make, tmp_path):
    """The links change, nothing else does, and the command prints the files and the links."""
    result = make("RUNBOOKS=https://x.example/a/runbooks/", "GRAFANA=http://[::1]:3000")
    assert (result.returncode, result.stderr) == (0, "")
    rules, dashboards = written(tmp_path)

    def changed(text):
        return text.replace(BASES["RUNBOOKS"], "https://x.example/a/runbooks").replace(
            BASES["GRAFANA"], "http://[::1]:3000"
        )

    assert rules == changed(RULES)
    assert dashboards == {name: changed(text) for name, text in DASHBOARDS.items()}
    assert result.stdout.splitlines() == [
        "build/rules/telnyx.rules.yaml",
        *(f"build/dashboards/{name}" for name in sorted(DASHBOARDS)),
        "RUNBOOKS: https://x.example/a/runbooks",
        "GRAFANA: http://[::1]:3000",
    ]


def test_folder_that_cannot_be_written_is_one_line(make, tmp_path):
    """If the files can't be written, one line says where and why."""
    (tmp_path / "build").touch()
    result = make()
    assert result.stdout == ""
    assert result.stderr.startswith("can't copy prometheus/rules/telnyx.rules.yaml to build/rules/telnyx.rules.yaml: ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", BASES)
def test_each_link_is_optional(make, tmp_path, name):
    """If a variable is unset or empty, its links stay. The environment can have the variables, too."""
    result = make(**{name: "https://x.example"}, **{other: "" for other in BASES if other != name})
    assert (result.returncode, result.stderr) == (0, "")
    assert written(tmp_path)[0] == RULES.replace(BASES[name], "https://x.example")
    assert make().returncode == 0
    assert written(tmp_path) == (RULES, DASHBOARDS)


def test_a_url_can_begin_with_the_default_of_another(make, tmp_path):
    """The URL of the runbooks is not changed again if it begins with Grafana's default."""
    make(f"RUNBOOKS={BASES['GRAFANA']}/wiki", "GRAFANA=https://g.example")
    rules, _ = written(tmp_path)
    assert rules.count(f'runbook_url: "{BASES["GRAFANA"]}/wiki/') == RULES.count("runbook_url: ")
    assert rules.count("https://g.example/d/") == RULES.count(f"{BASES['GRAFANA']}/d/")


def test_every_link_changes(make, tmp_path):
    """Each alert has both links, each table of alerts has one to the runbooks, and no default is left."""
    make("RUNBOOKS=https://r.example", "GRAFANA=https://g.example")
    rules, dashboards = written(tmp_path)
    alerts = [rule for group in yaml.safe_load(rules)["groups"] for rule in group["rules"] if "alert" in rule]
    for alert in alerts:
        assert alert["annotations"]["runbook_url"] == f"https://r.example/{alert['alert']}"
        assert alert["annotations"]["dashboard_url"].startswith("https://g.example/d/")
    for text in dashboards.values():
        assert "https://r.example/${__data.fields.alertname:percentencode}" in text
    assert "localhost" not in rules + "".join(dashboards.values())


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://x.example", "https://x.example"),
        ("HTTP://x.example:8080/a/b/", "HTTP://x.example:8080/a/b"),
        (" https://10.0.0.1//", "https://10.0.0.1"),
        ("https://[2001:db8::1]:10142/a%20b/@c:d", "https://[2001:db8::1]:10142/a%20b/@c:d"),
    ],
)
def test_valid_urls(text, url):
    """A URL can have a port and a path. Slashes at its end are removed."""
    assert check_url("RUNBOOKS", text) == url


@pytest.mark.parametrize(
    "text",
    [
        *(
            "x.example",
            "/runbooks",
            "//x.example",
            "ftp://x.example",
            "file:///x",
            "javascript:alert(1)",
            "https://",
            "/",
        ),
        *("https://user@x", "https://user:SECRET@x", "https://x?a", "https://x/a?b", "https://x/a#b", "https://x/?"),
        *("https://x/'", 'https://x/"', "https://x/\\", "https://x/a b", "https://x/\nb: c", "https://x/{{a}}"),
        *("https://x/$a", "https://x/<", "https://x/é", "https://x//a", "https://-x", "https://x:port", "https://[x]"),
    ],
)
@pytest.mark.parametrize("name", BASES)
def test_invalid_url_is_rejected(name, text):
    """A URL that is none, or that would break YAML, JSON or templates, is rejected. The message doesn't quote it."""
    with pytest.raises(
        ValueError, match=rf"^{name}: must be an http or https URL such as https://\S+, without .+$"
    ) as error:
        check_url(name, text)
    assert "SECRET" not in str(error.value)


def test_invalid_url_is_one_line_and_writes_nothing(make, tmp_path):
    """With an invalid URL, the command fails with one line and writes no file."""
    result = make("RUNBOOKS=https://user:SECRET@x")
    assert result.returncode != 0
    message, *rest = result.stderr.splitlines()
    assert re.fullmatch(r"RUNBOOKS: must be an http or https URL such as https://\S+, without .+", message)
    assert all(line.startswith("make: ") for line in rest)
    assert "SECRET" not in result.stdout + result.stderr
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize("in_environment", [False, True], ids=["argument", "environment"])
@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("reference", ["$(shell touch ran)", "$(nothing)", "$a", "$$a"])
def test_references_of_make_are_not_expanded(make, tmp_path, name, reference, in_environment):
    """`make` neither runs a command in a URL nor removes a part of it, so such a URL is rejected."""
    url = f"https://x.example/{reference}"
    result = make(**{name: url}) if in_environment else make(f"{name}={url}")
    assert result.returncode != 0
    assert result.stderr.startswith(f"{name}: must be an http or https URL")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "build").exists()
