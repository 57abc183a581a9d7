import pytest

from exporter.config.loading.variables import check_prefixed, check_shared, read_dotenv, set_variables
from exporter.config.options import OPTIONS

OF_SDKS = (
    *("TELNYX_API_KEY", "TELNYX_BASE_URL", "TELNYX_PUBLIC_KEY", "TELNYX_CLIENT_ID", "TELNYX_CLIENT_SECRET"),
    *("TELNYX_LOG", "TELNYX_CUSTOM_HEADERS", "TELNYX_API_BASE"),
)
OF_OTHERS = (
    *("TELNYX_PHONE_NUMBER", "TELNYX_CONNECTION_ID", "TELNYX_APP_ID", "TELNYX_SIP_PASSWORD", "TELNYX_API_URL"),
    *("TELNYX_SERVICE_HOST", "TELNYX_PORT_443_TCP", "TELNYX_MESSAGING_PROFILE_ID", "TELNYX_WEBHOOK_URL", "PATH"),
)
NOT_THE_KEY = "did you mean TELNYX_API_KEY?"


def message_for(name, **needs):
    """Return the error for a variable, or an empty string."""
    try:
        check_shared([name], **({"needs_key": False, "needs_url": False} | needs))
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "name",
    [
        *("TELNYX_APIKEY", "TELNYX_API_KEYS", "TELNYX_API__KEY", "TELNYX_API_KYE", "TELNYX_KEY", "TELNYX_API_TOKEN"),
        *("TELNYX_APP_KEY", "Telnyx_ApiKey", "telnyx_apikey", "TELNYX_V2_KEY", "TELNYX_AUTH_KEY"),
    ],
)
def test_misspelt_key_is_an_error_without_a_key(name):
    """Without an API key, a variable whose name is similar is an error that suggests the right name."""
    assert message_for(name, needs_key=True) == f"unknown variable {name}; did you mean TELNYX_API_KEY?"
    assert message_for(name) == ""


def test_key_file_in_the_style_of_containers_is_an_error_without_a_key():
    """The name that containers often have for a file with a key is an error that suggests the exporter's name."""
    for name in ("TELNYX_API_KEY_FILE", "TELNYX_API_KEY_FILES"):
        message = message_for(name, needs_key=True)
        assert message == f"unknown variable {name}; did you mean {name.replace('TELNYX', 'TELNYX_EXPORTER_TELNYX_')}?"


@pytest.mark.parametrize(
    "name", ["TELNYX_BASEURL", "TELNYX_BASE_URI", "TELNYX_BASE_ULR", "TELNYX_BASE__URL", "telnyx_base_urls"]
)
def test_misspelt_base_url_is_an_error_without_a_base_url(name):
    """Without a base URL, a variable whose name is very similar is an error: the key could go to the wrong place."""
    assert message_for(name, needs_url=True) == f"unknown variable {name}; did you mean TELNYX_BASE_URL?"
    assert message_for(name) == ""


@pytest.mark.parametrize("name", [*OF_SDKS, *OF_OTHERS])
def test_variables_of_other_programs_are_ignored(name):
    """Variables of Telnyx's SDKs, of other programs and of Kubernetes are no mistakes."""
    assert message_for(name, needs_key=True, needs_url=True) == ""


def test_variable_with_the_prefix_is_checked_elsewhere():
    """A variable with the exporter's own prefix is not compared with the shared ones."""
    assert message_for("TELNYX_EXPORTER_API_KEY", needs_key=True) == ""


def test_error_states_the_place():
    """The error states that a variable is in `.env`."""
    with pytest.raises(ValueError, match=r"^unknown variable TELNYX_APIKEY in \.env; did you mean TELNYX_API_KEY\?$"):
        check_shared(["TELNYX_APIKEY"], needs_key=True, needs_url=True, place=" in .env")
    with pytest.raises(ValueError, match=r"^unknown variable TELNYX_EXPORTER_X in \.env; see --help$"):
        check_prefixed(["TELNYX_EXPORTER_X"], OPTIONS, " in .env")


def test_error_escapes_control_characters():
    """The error escapes control characters in the name of a variable, so that they don't reach the terminal."""
    assert message_for("TELNYX_API_KEY\x1b", needs_key=True).startswith(r"unknown variable 'TELNYX_API_KEY\x1b'; ")
    assert message_for("TELNYX_BASE_URL\x1b", needs_url=True).startswith(r"unknown variable 'TELNYX_BASE_URL\x1b'; ")
    with pytest.raises(ValueError, match=r"^unknown variable 'TELNYX_EXPORTER_\\x1b'; see --help$"):
        check_prefixed(["TELNYX_EXPORTER_\x1b"], OPTIONS)


def test_set_variables_are_in_upper_case():
    """Names are case-insensitive, and an empty variable counts as unset."""
    assert set_variables({"a": "1", "B": "", "C": "2"}) == {"A": "1", "C": "2"}


def test_dotenv_can_be_missing(tmp_path, monkeypatch):
    """Without a `.env` file there are no variables. A line that is only a name is an empty variable."""
    monkeypatch.chdir(tmp_path)
    assert read_dotenv() == {}
    (tmp_path / ".env").write_text("A=1\nB\n")
    assert read_dotenv() == {"A": "1", "B": ""}
