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
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize("drop_ins", [(), ("socket",), ("accounts",), ("accounts", "socket")], ids="+".join)
def test_units_are_clean(tmp_path, drop_ins):
    """`systemd-analyze verify` accepts the units, with each combination of drop-ins.

    The test replaces their program, because it is not installed here.
    """
    units = shutil.copytree(UNITS, tmp_path / "units")
    service = (units / SERVICE).read_text()
    (units / SERVICE).write_text(re.sub(r"^(ExecStart)=.*$", r"\1=/bin/true", service, flags=re.MULTILINE))
    for path in (units / f"{SERVICE}.d").iterdir():
        if path.stem not in drop_ins:
            path.unlink()
    assert analyze("verify", units / SERVICE, units / SOCKET) == (0, "")


def test_exposure_is_as_stated():
    """The unit and the README state the same exposure, and `systemd-analyze security` finds no more than that."""
    text = (UNITS / SERVICE).read_text() + (UNITS / "README.md").read_text()
    in_unit, in_readme = re.findall(r"gives it (\d\.\d)", text)
    assert in_unit == in_readme
    code, output = analyze("security", "--offline=true", f"--threshold={float(in_unit) * 10:.0f}", UNITS / SERVICE)
    assert code == 0, output
