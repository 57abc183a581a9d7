"""The links of real alerts, followed as a person does who has no password."""

import json
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urldefrag, urljoin

import bcrypt
import pytest
from html_page import Page
from link_files import make_rules
from programs import exporter, get, get_json, prometheus

ROOT = Path(__file__).parents[2]
WEB_CONFIG = {
    "basic_auth_users": {"alice": bcrypt.hashpw(b"password", bcrypt.gensalt(4)).decode()},
    "rate_limit": {"interval": "1h", "burst": 1},
}


@pytest.fixture(scope="module", params=["", "/telnyx"], ids=["no prefix", "prefix"])
def server(request, tmp_path_factory):
    """Yield the URL of an exporter that has users and a rate limit of one request per hour."""
    folder = tmp_path_factory.mktemp("exporter")
    (folder / "web.yml").write_text(json.dumps(WEB_CONFIG))
    flags = ("--web.config.file=web.yml", f"--web.route-prefix={request.param or '/'}")
    with exporter(folder, "--demo", *flags) as url:
        yield url


@pytest.fixture(scope="module")
def alerts(server, tmp_path_factory):
    """Return the annotations that Prometheus has for each alert, with the rules that `make rules` writes."""
    folder = tmp_path_factory.mktemp("prometheus")
    assert make_rules(folder, f"RUNBOOKS={server}/runbooks").returncode == 0
    with prometheus(folder, "rule_files: [build/rules/telnyx.rules.yaml]\n") as url:
        groups = get_json(f"{url}/api/v1/rules", type="alert")["data"]["groups"]
    return {rule["name"]: rule["annotations"] for group in groups for rule in group["rules"]}


def test_link_of_every_alert_leads_to_its_runbook(server, alerts):
    """Each alert that Prometheus has loaded links to its runbook, which anyone can read without a password."""
    assert len(alerts) == len(list((ROOT / "docs" / "runbooks").glob("Telnyx*.md")))
    for name, annotations in alerts.items():
        page = Page(get(annotations["runbook_url"]))
        assert page.first_text("title") == f"{name} - Telnyx exporter"
        assert page.first_text("h1") == name
        assert annotations["summary"].rstrip(".") in page.first_text("p")


def test_every_internal_link_leads_somewhere(server):
    """From the index, each link within the runbooks leads to a page and an anchor that exist. All can be reached."""
    index = f"{server}/runbooks/"
    pages, waiting, anchors = {}, [index], []
    while waiting:
        url = waiting.pop()
        if url in pages:
            continue
        pages[url] = Page(get(url))
        for link in pages[url].targets:
            target, fragment = urldefrag(urljoin(url, link))
            if target.startswith(index):
                anchors += [(target, fragment)] if fragment else []
                waiting.append(target)
            else:
                assert target == f"{server}/" or not target.startswith(server), link
    for target, fragment in anchors:
        assert fragment in pages[target].ids, (target, fragment)
    assert len(pages) == 1 + len(list((ROOT / "docs" / "runbooks").glob("Telnyx*.md")))


def test_other_pages_still_need_a_password(server):
    """The page and the metrics need a password, and the runbooks don't use up the rate limit."""
    assert "Runbooks" in get(f"{server}/runbooks")
    for path in ("/", "/metrics", "/runbooksx", "/-/reload"):
        with pytest.raises(HTTPError, match=r"401|429"):
            get(server + path)
