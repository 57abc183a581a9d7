"""The expected output of an exporter of several accounts, made of the output of exporters of one account each."""

import contextlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OF_ALL_ACCOUNTS = (
    r"telnyx_exporter_(?:build_info|config|connections_closed|requests_refused|tls_handshake)|process_|python_"
)
"""Matches the beginnings of the names of metrics about the whole exporter."""
SHARD = """\
# TYPE telnyx_exporter_shard_ordinal gauge
telnyx_exporter_shard_ordinal {ordinal}
# TYPE telnyx_exporter_total_shards gauge
telnyx_exporter_total_shards {total}
# TYPE telnyx_exporter_accounts gauge
telnyx_exporter_accounts {accounts}
# TYPE telnyx_exporter_api_key_files gauge
telnyx_exporter_api_key_files {files}
"""


def merge_accounts(texts, *, ordinal=0, total=1, files=None):
    """Merge exposition texts by account. The label `account` comes first on each series of an account.

    The metrics about the whole exporter are those of the first text.
    """
    merged = [SHARD.format(ordinal=ordinal, total=total, accounts=len(texts), files=files or len(texts))]
    for number, (account, text) in enumerate(texts.items()):
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            if not re.match(OF_ALL_ACCOUNTS, line):
                name, brace, rest = re.match(r"(\w+)({?)(.*)", line).groups()
                merged.append(f'{name}{{account="{account}"{"," + rest if brace else "}" + rest}')
            elif number == 0:
                merged.append(line)
    return "\n".join(merged) + "\n"


@contextlib.contextmanager
def serve_metrics(render):
    """Serve what `render` returns as the metrics of an exporter. Yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = render().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)

        def log_message(self, *_):
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
