"""The exporter behind nginx, which keeps the path of a request, or strips its prefix."""

import contextlib
import re
from html import unescape
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from programs import exporter, find_program, free_port, running, wait_until

CONFIG = """\
daemon off;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {{
    listen 127.0.0.1:{port};
    location /telnyx/ {{ proxy_pass {target}; proxy_redirect off; }}
  }}
}}
"""
"""`proxy_pass` with a path replaces the location's prefix, and without one keeps the path of the request."""


@contextlib.contextmanager
def nginx(folder, port, target):
    """Run nginx, which passes requests below `/telnyx/` to this target, and yield its URL."""
    (folder / "nginx.conf").write_text(CONFIG.format(port=port, target=target))
    command = (find_program("nginx", "/usr/sbin/nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"))
    url = f"http://127.0.0.1:{port}/telnyx/"
    with running(*command, log=folder / "nginx.log"):
        wait_until(lambda: not httpx.get(url).is_server_error, "nginx")
        yield url


@pytest.mark.parametrize(
    ("flags", "target"),
    [
        pytest.param([], "", id="the proxy keeps the path"),
        pytest.param(["--web.route-prefix=/"], "/", id="the proxy strips the prefix"),
        pytest.param(["--web.route-prefix=inside"], "/inside/", id="the proxy replaces the prefix"),
    ],
)
def test_pages_and_links_work_behind_a_proxy(tmp_path, flags, target):
    """Behind the proxy, all pages and links work, and the log has the URL."""
    port = free_port()
    external = f"http://127.0.0.1:{port}/telnyx"
    with exporter(tmp_path, "--demo", f"--web.external-url={external}", *flags) as page:
        address = "{0.scheme}://{0.netloc}".format(urlsplit(page))
        assert f"external_url={external}/" in (tmp_path / "exporter.log").read_text()
        with nginx(tmp_path, port, f"{address}{target}") as url:
            response = httpx.get(url)
            assert response.status_code == 200
            targets = re.findall('(?:href|action)="([^"]*)"', response.text)
            links = {unescape(target) for target in targets if target.startswith("/")}
            assert all(target.startswith(("/telnyx/", "#")) for target in targets)
            bodies = {link: httpx.get(urljoin(url, link)).raise_for_status().text for link in links}
            runbooks = httpx.get(urljoin(url, "runbooks"), follow_redirects=True)
            runbook = httpx.get(urljoin(str(runbooks.url), "TelnyxApiDown")).raise_for_status().text
            assert '<a href="../">Telnyx exporter</a>' in runbook
    assert "telnyx_up 1.0" in bodies["/telnyx/metrics"]
    assert str(runbooks.url) == f"{url}runbooks/"
    assert bodies["/telnyx/runbooks/"] == runbooks.text
    assert (bodies["/telnyx/-/healthy"], bodies["/telnyx/-/ready"]) == ("healthy\n", "ready\n")
    assert '"ok":true' in bodies["/telnyx/api/v1/status"]
    assert any("sort=" in link for link in links)
