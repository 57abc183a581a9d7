import platform

from exporter.build import BUILD_INFO, DATE, REVISION, USER_AGENT, VERSION, VERSION_TEXT


def test_build_info_has_the_facts_that_prometheus_programs_state():
    """It states the version, revision, date of the build, Python version and platform. The platform has Go's names."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    assert {
        "version": VERSION,
        "revision": REVISION,
        "builddate": DATE,
        "pythonversion": platform.python_version(),
        "os": platform.system().lower(),
        "arch": machine,
    } == BUILD_INFO


def test_version_text_has_the_format_of_prometheus_programs():
    """`--version` prints one line for the program, and one for each fact, aligned as `prometheus --version` does."""
    os, arch = BUILD_INFO["os"], BUILD_INFO["arch"]
    assert VERSION_TEXT.splitlines() == [
        f"telnyx-exporter, version {VERSION} (revision: {REVISION})",
        f"  build date:       {DATE}",
        f"  python version:   {platform.python_version()}",
        f"  platform:         {os}/{arch}",
    ]
    assert VERSION_TEXT.endswith("\n")


def test_user_agent_is_program_and_version():
    """The user agent is the program and its version, as in Prometheus's programs."""
    assert f"telnyx-exporter/{VERSION}" == USER_AGENT
