import re
import shutil
import subprocess
from pathlib import Path

import pytest
from programs import find_program

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICE, SOCKET = "telnyx-exporter.service", "telnyx-exporter.socket"


def analyze(*arguments):
    command = (find_program("systemd-analyze"), *arguments)
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("activated", [False, True], ids=["listening", "activated"])
def test_units_are_clean(tmp_path, activated):
    """Systemd knows all that they say; the program alone is not where they say, because nothing is installed here."""
    units = shutil.copytree(UNITS, tmp_path / "units")
    service = (units / SERVICE).read_text()
    (units / SERVICE).write_text(re.sub(r"^(ExecStart)=.*$", r"\1=/bin/true", service, flags=re.MULTILINE))
    if not activated:
        shutil.rmtree(units / f"{SERVICE}.d")
    assert analyze("verify", units / SERVICE, units / SOCKET) == (0, "")


def test_exposure_is_what_is_stated():
    """The unit and the README state how exposed systemd finds the service, or more than that."""
    text = (UNITS / SERVICE).read_text() + (UNITS / "README.md").read_text()
    one, two = re.findall(r"gives it (\d\.\d)", text)
    assert one == two
    code, answer = analyze("security", "--offline=true", f"--threshold={float(one) * 10:.0f}", UNITS / SERVICE)
    assert code == 0, answer
