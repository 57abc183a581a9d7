from few_collectors import FEW

from exporter.config.loading.help import help_text
from exporter.config.options import OPTIONS, collector_options

LINES = help_text((*OPTIONS, *collector_options(FEW))).splitlines()


def test_switch_is_listed_once_with_its_negation():
    """A switch is listed as kingpin does, in one place and without a value."""
    assert [line.split()[0] for line in LINES if "]demo" in line or "--demo" in line] == ["--[no-]demo"]
    assert "  --[no-]collector.ip-connections" in LINES


def test_flag_with_a_value_is_listed_with_its_placeholder():
    """A flag with a value is listed with the placeholder of the value, and without a negation."""
    assert [line.split()[:2] for line in LINES if line.startswith("  --cache.ttl")] == [["--cache.ttl", "DURATION"]]
