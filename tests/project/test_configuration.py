import re
import shlex
from pathlib import Path

import pytest
import yaml
from certificates import authority, identity, write
from cryptography import x509

from exporter.cli import main
from exporter.web.web_config import WebConfigFile

TEXT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"


def block(language, start):
    """Return the block of code that begins with a text."""
    return re.search(rf"```{language}\n({re.escape(start)}.*?)```", TEXT, re.DOTALL)[1]


def test_the_example_of_a_web_configuration_is_valid(tmp_path):
    """The example, with a real hash of a password, is valid and has all sections and the files that it names."""
    ca = authority("ca")
    write(tmp_path, identity("server", x509.DNSName("localhost"), by=ca), ca)
    (tmp_path / "ca.pem").rename(tmp_path / "clients.pem")
    example = block("yaml", "tls_server_config").replace("$2y$10$...", HASH)
    assert yaml.safe_load(example).keys() == {
        "tls_server_config",
        "basic_auth_users",
        "http_server_config",
        "rate_limit",
    }
    (tmp_path / "web.yml").write_text(example)
    config = WebConfigFile(tmp_path / "web.yml").config
    assert config.rate_limit.burst == 20


@pytest.mark.parametrize(
    "settings",
    [
        block("sh", "TELNYX_API_KEY=KEY...\n").replace("KEY...", "KEY-of-tests"),
        "TELNYX_API_KEY=KEY-of-tests\nTELNYX_EXPORTER_CACHE__TTL=",
    ],
    ids=["example", "empty variable"],
)
def test_the_example_of_a_dotenv_file_is_valid(tmp_path, monkeypatch, capsys, settings):
    """The exporter accepts the example of a `.env` file, and an empty variable."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(settings)
    assert main(["--check-config"]) == 0
    output = capsys.readouterr().out
    assert ("--cache.ttl" in output) == ("TTL=1m" in settings)


def test_the_example_of_an_error_is_real(tmp_path, monkeypatch, capsys):
    """An invalid setting causes exactly the documented message, and status 2."""
    monkeypatch.chdir(tmp_path)
    message = block("", "telnyx-exporter: ")
    assert main(shlex.split(re.search(r"--cache\.ttl='5'", message)[0])) == 2
    assert capsys.readouterr().err == message
