"""A log of the exporter in systemd's journal, with a line for each message that runbooks look for."""

import re
from pathlib import Path

_FIELDS = """\
level=info msg=listening page=http://localhost:10142/ metrics=http://localhost:10142/metrics
level=warning msg="refresh failed" collector=balance reason=forbidden error="HTTP status 403" advice="Allow the user"
level=warning msg="request failed" collector=registrations connection_id=1381893374499453584 reason=timeout error=.
level=warning msg="row left out because it can't be decoded" collector=ip-connections id=1381893374499453584 problem=x
level=warning msg="more rows left out" collector=credential-connections more=5
level=warning msg="API key file is unusable" account=emea file=/keys/emea problem="is empty"
level=warning msg="API key file is unusable, keeping the previous key" file=/keys/key problem="is empty"
level=warning msg="API key file is ignored because of its name" file="/keys/a b" problem="must have"
level=info msg="API key files changed" removed="apac, emea" accounts=0
level=warning msg="no API key file matches" pattern=/keys/*
level=warning msg="API key files can't be read, keeping the accounts" problem="/keys can't be listed: Permission denied"
level=warning msg="configuration is invalid, keeping the previous one" source=settings problem="must be a duration"
level=warning msg="web configuration is invalid, keeping the previous one" file=/etc/web.yml problem="unknown field"
level=warning msg="client request refused" reason=wrong_credentials client=192.0.2.7
level=warning msg="client request refused" reason=wrong_credentials count=118 seconds=60.0
level=warning msg="client connection closed" reason=request_timeout client=192.0.2.7
level=warning msg="client TLS handshake failed" reason=rejected_by_client client=192.0.2.8 detail=TLSV1_ALERT_UNKNOWN_CA
level=info msg=stopping
"""
JOURNAL = "".join(
    f"Nov 28 03:12:{second:02} voip telnyx-exporter[812]: time=2026-11-28T03:12:{second:02}.123456Z {fields}\n"
    for second, fields in enumerate(_FIELDS.splitlines())
)
_SOURCES = (Path(__file__).parents[2] / "exporter").glob("**/*.py")
_TEXTS = {text for path in _SOURCES for text in re.findall(r'"([^"\n]+)"', path.read_text())}


def unknown_messages(text):
    """Return the messages of log lines in a text that the exporter never logs."""
    found = {quoted or word for quoted, word in re.findall(r'\bmsg=(?:"([^"]+)"|(\w+))', text)}
    return sorted(found - _TEXTS)
