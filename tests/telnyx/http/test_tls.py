import ssl

import httpx
import pytest
from certificates import authority

from exporter.config.flags import UsageError
from exporter.telnyx.http.tls import create_ssl_context

ONE, TWO = authority("one"), authority("two")


def trusted(context):
    """Return the names of the CAs that a context has loaded."""
    subjects = (dict(pair for (pair,) in ca["subject"]) for ca in context.get_ca_certs())
    return {subject.get("commonName") for subject in subjects}


@pytest.fixture
def files(tmp_path):
    """Write a file for each CA and return their paths."""
    paths = tmp_path / "one.pem", tmp_path / "two.pem"
    for path, ca in zip(paths, (ONE, TWO), strict=True):
        path.write_text(ca.pem)
    return paths


def test_the_flag_takes_precedence(files):
    """Only the CAs of `--telnyx.ca-file` are trusted, whatever the environment sets."""
    one, two = files
    environment = {"SSL_CERT_FILE": str(two), "SSL_CERT_DIR": "/nowhere"}
    assert trusted(create_ssl_context(one, environment)) == {"one"}


def test_the_variable_for_a_file_comes_second(files):
    """Without the flag, only the CAs of SSL_CERT_FILE are trusted."""
    assert trusted(create_ssl_context(None, {"SSL_CERT_FILE": str(files[1]), "SSL_CERT_DIR": "/nowhere"})) == {"two"}


@pytest.mark.parametrize("environment", [{}, {"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""}], ids=["unset", "empty"])
def test_the_default_is_the_default_of_httpx(environment):
    """Without a file or directory, the context is that of httpx."""
    assert trusted(create_ssl_context(None, environment)) == trusted(httpx.create_ssl_context(trust_env=False))


@pytest.mark.parametrize("separator", ["{}", "/nowhere-is-not-read:{}", ":{}"], ids=["one", "several", "empty"])
def test_directories_have_hashed_names(tmp_path, separator):
    """SSL_CERT_DIR can name several directories. OpenSSL loads their certificates when it needs them."""
    (tmp_path / "0a1b2c3d.0").write_text(ONE.pem)
    (tmp_path / "other").mkdir()
    text = separator.replace("/nowhere-is-not-read", str(tmp_path / "other")).format(tmp_path)
    context = create_ssl_context(None, {"SSL_CERT_DIR": text})
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert trusted(context) == set()  # not loaded yet


@pytest.mark.parametrize("ca_file", [True, False], ids=["flag", "variable"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(None, "No such file or directory", id="missing"),
        pytest.param("", "must contain PEM certificates", id="empty"),
        pytest.param("é", "must contain PEM certificates", id="not ASCII"),
        pytest.param("hush", "must contain PEM certificates", id="no PEM"),
        pytest.param(ONE.key_pem, "must contain PEM certificates", id="a key"),
        pytest.param(f"{ONE.pem}{TWO.pem[:200]}", "must contain PEM certificates", id="cut off"),
        pytest.param("x" * (16 * 2**20 + 1), "is larger than 16777216 bytes", id="large"),
    ],
)
def test_an_unusable_file_is_rejected(tmp_path, content, reason, ca_file):
    """The error of a file that can't be used names the flag or variable, the path and the reason, but no content."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    arguments = (path, {}) if ca_file else (None, {"SSL_CERT_FILE": str(path)})
    with pytest.raises(UsageError) as caught:
        create_ssl_context(*arguments)
    assert str(caught.value) == f"{'--telnyx.ca-file' if ca_file else 'SSL_CERT_FILE'}={str(path)!r}: {reason}"
    assert caught.value.__context__ is None


@pytest.mark.parametrize(("path", "reason"), [("/", "Is a directory"), ("/dev/null", "is not a regular file")])
def test_only_regular_files_are_read(path, reason):
    """A directory or a device is rejected."""
    with pytest.raises(UsageError, match=f"^SSL_CERT_FILE='{path}': {reason}$"):
        create_ssl_context(None, {"SSL_CERT_FILE": path})


def test_comments_can_have_any_characters(tmp_path):
    """Bundles name their CAs in comments, in any encoding."""
    path = tmp_path / "ca.pem"
    path.write_bytes(b"# Autorit\xe9 \xc3\xa9\n" + ONE.pem.encode() + TWO.pem.encode())
    assert trusted(create_ssl_context(path, {})) == {"one", "two"}


def test_a_directory_without_certificates_is_rejected(tmp_path):
    """OpenSSL finds only certificates with hashed names, so a directory without them is an error."""
    (tmp_path / "ca.pem").write_text(ONE.pem)
    with pytest.raises(UsageError) as caught:
        create_ssl_context(None, {"SSL_CERT_DIR": str(tmp_path)})
    expected = f"SSL_CERT_DIR={str(tmp_path)!r}: contains no certificates; run openssl rehash on the directory"
    assert str(caught.value) == expected


def test_a_missing_directory_is_rejected():
    """The error of a directory that is missing names the variable, its value and the reason."""
    with pytest.raises(UsageError, match=r"^SSL_CERT_DIR='/nowhere': No such file or directory$"):
        create_ssl_context(None, {"SSL_CERT_DIR": "/nowhere"})
