"""The settings as the user sees them: flags, variables and help.

Everything is derived from the model in `settings.py` and from the list of collectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from exporter.config.settings import PREFIX, Settings, SettingsGroup
from exporter.config.values import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

COLLECTORS_GROUP = "collector"
"""The group of the collectors' options."""


class Option(NamedTuple):
    """A setting as the user sees it."""

    path: tuple[str, ...]
    """The place in the model, such as `("telnyx", "page_size")`."""
    flag: str
    """Empty if there is none."""
    variable: str
    help: str
    group: str
    """The common prefix of the flags of a group, such as `telnyx.filter`. Empty for modes."""
    metavar: str = ""
    """Placeholder for the value in the help. Empty for a switch."""
    repeatable: bool = False
    """Whether the flag can be given several times."""
    default: str = ""
    secret: bool = False
    """Whether error messages must not quote the value."""

    @property
    def negation(self) -> str:
        """The flag that switches it off, such as `--no-demo`. Empty if it is not a switch."""
        return self.flag.replace("--", "--no-", 1) if not self.metavar else ""

    @property
    def dotted_path(self) -> str:
        """The place in the model, such as `telnyx.page_size`."""
        return ".".join(self.path)


def _fields(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    for name, field in model.model_fields.items():
        field_path = (*path, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, SettingsGroup):
            yield from _fields(field.annotation, field_path)
        else:
            yield field_path, field


def _option(path: tuple[str, ...], field: FieldInfo) -> Option:
    extra: dict[str, Any] = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    flag = extra.get("flag", "--" + ".".join(path).replace("_", "-"))
    return Option(
        path,
        flag=flag,
        variable=str(field.validation_alias or PREFIX + "__".join(path).upper()),
        help=field.description or "",
        group=extra.get("group", flag.removeprefix("--").rpartition(".")[0] if "metavar" in extra or path[1:] else ""),
        metavar=extra.get("metavar", ""),
        repeatable=extra.get("repeatable", False),
        default="" if field.default in {None, False} else str(field.default),
        secret=extra.get("secret", False),
    )


OPTIONS: tuple[Option, ...] = tuple(
    _option(path, field) for path, field in _fields(Settings) if path != ("collectors",)
)
"""All options except the collectors' options."""


def group_title(group: str) -> str:
    """Return the title of a group of `OPTIONS`."""
    model: type[BaseModel] = Settings
    for part in group.split("."):
        annotation = model.model_fields[part].annotation
        assert isinstance(annotation, type)  # noqa: S101 -- _fields only descends into groups
        model = annotation
    return (model.__doc__ or "").splitlines()[0]


class Endpoint(Protocol):
    """The endpoint that a collector reads."""

    @property
    def path(self) -> str:
        """Path below the base URL."""


class CollectorFlags(Protocol):
    """The attributes of a collector from which its flags are made."""

    @property
    def name(self) -> str:
        """The name in its flags."""

    @property
    def title(self) -> str:
        """The resource that it reads, such as `Credential connections`."""

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint that it reads."""

    @property
    def default_ttl(self) -> float | None:
        """Seconds. None if `--cache.ttl` is the default."""

    @property
    def default_rate(self) -> float | None:
        """Connections to read per second. None if it does not read them one by one."""

    @property
    def on_by_default(self) -> bool:
        """Whether it is enabled by default."""


def collector_options(collectors: Iterable[CollectorFlags]) -> tuple[Option, ...]:
    """Return the options of the collectors: for each, the switch, the TTL and, if it has one, the rate."""
    return tuple(option for collector in collectors for option in _options_of(collector))


def _options_of(collector: CollectorFlags) -> Iterator[Option]:
    name, ttl, rate = collector.name, collector.default_ttl, collector.default_rate
    variable = f"{PREFIX}COLLECTOR__{name.replace('-', '_').upper()}"
    yield Option(
        ("collectors", name, "enabled"),
        flag=f"--collector.{name}",
        variable=variable,
        help=f"{collector.title} (GET {collector.endpoint.path}).",
        group=COLLECTORS_GROUP,
        default="on" if collector.on_by_default else "",
    )
    yield Option(
        ("collectors", name, "ttl"),
        flag=f"--collector.{name}.ttl",
        variable=f"{variable}__TTL",
        help=f"How long to reuse the snapshot of {name} before a scrape refreshes it."
        if rate is None
        else f"How often {name} reads each connection; less often if the rate is too low for it.",
        group=COLLECTORS_GROUP,
        metavar="DURATION",
        default="--cache.ttl" if ttl is None else format_duration(ttl),
    )
    if rate is not None:
        yield Option(
            ("collectors", name, "rate"),
            flag=f"--collector.{name}.rate",
            variable=f"{variable}__RATE",
            help=f"Connections that {name} reads per second at most, 0.01 to 100.",
            group=COLLECTORS_GROUP,
            metavar="N",
            default=f"{rate:g}",
        )
