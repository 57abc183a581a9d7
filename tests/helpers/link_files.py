"""`make rules`, run in a copy of the files that it needs."""

import os
import shutil
import subprocess
from pathlib import Path

from programs import find_program

ROOT = Path(__file__).parents[2]
VARIABLES = ("RUNBOOKS", "GRAFANA", "MAKEFLAGS", "MAKELEVEL")
"""Variables that change what `make rules` does or prints, if `make` also runs the tests."""
NEEDED = ("Makefile", "deploy/links.py", "prometheus/rules/telnyx.rules.yaml", "grafana/dashboards")


def make_rules(folder, *variables, **environment):
    """Run `make rules` with these variables in a folder, which has its output in `build/` afterwards."""
    for name in NEEDED:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / name, target)
    command = (find_program("make"), "rules", *variables)
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES} | environment
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
