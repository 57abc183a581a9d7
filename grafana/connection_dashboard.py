"""The dashboard of one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alerts import ABOUT_THIS_CONNECTION, alerts_of_this_connection, mark_alerts, mark_changes
from columns import TYPE
from panels import (
    GREEN,
    LINK_PARAMETERS,
    ON_OFF,
    ORANGE,
    RED,
    WARN_ABOVE_ZERO,
    YES_NO,
    Column,
    Link,
    build_dashboard,
    graph,
    map_missing,
    map_values,
    needs,
    scoped,
    stat_panel,
    table_panel,
    thresholds,
    timeline,
    variable,
)
from profile_columns import LIMIT_OFF, PROFILE_STATES
from profile_queries import DAILY_LIMIT, ENABLED, PROFILES, by_profile_and_name, connection_profiles, profile_metric
from queries import CONNECTION_NAMES, by_id_and_name, latest, latest_of_connection, newest
from record_types import CONNECTION_FAMILIES, RECORD_TYPE

from exporter.collectors.families import MultiGauge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grafana_foundation_sdk.models.dashboard import Dashboard, Panel


SETTINGS = {
    "General": {
        "Account": "telnyx_connection_info account",
        "Record type": "telnyx_connection_info record_type",
        "Anchorsite": "telnyx_connection_info anchorsite",
        "Media encryption": "telnyx_connection_info encrypted_media",
        "DTMF type": "telnyx_connection_info dtmf_type",
        "SIP URI calling": "telnyx_connection_info sip_uri_calling_preference",
        "Comfort noise on hold": "telnyx_connection_info default_on_hold_comfort_noise_enabled",
        "Encode contact header": "telnyx_connection_info encode_contact_header_enabled",
        "T.38 passthrough on-net": "telnyx_connection_info onnet_t38_passthrough_enabled",
        "iOS push credential": "telnyx_connection_info ios_push_credential_id",
        "Android push credential": "telnyx_connection_info android_push_credential_id",
        "Conversations stored": "telnyx_connection_info conversation_persistence",
        "Comfort noise to the other leg": "telnyx_connection_info bridge_generate_comfort_noise_on_cn",
        "Third-party control": "telnyx_connection_info third_party_control_enabled",
        "SIP transport": "telnyx_connection_transport_info transport_protocol",
        "Microsoft Teams SBC": "telnyx_connection_transport_info microsoft_teams_sbc",
        "Registration status": "telnyx_connection_registration_status status",
        "Registration transport": "telnyx_connection_registration_status transport",
    },
    "Calls to the connection": {
        "Channel limit": "telnyx_connection_inbound_channel_limit",
        "SIP region": "telnyx_connection_transport_info sip_region",
        "Caller number format": "telnyx_connection_inbound_info ani_number_format",
        "Called number format": "telnyx_connection_inbound_info dnis_number_format",
        "Routing method": "telnyx_connection_inbound_info default_routing_method",
        "Simultaneous ringing": "telnyx_connection_inbound_info simultaneous_ringing",
        "Ringback tone": "telnyx_connection_inbound_info generate_ringback_tone",
        "ISUP headers": "telnyx_connection_inbound_info isup_headers_enabled",
        "PRACK": "telnyx_connection_inbound_info prack_enabled",
        "Compact SIP headers": "telnyx_connection_inbound_info sip_compact_headers_enabled",
        "STIR/SHAKEN": "telnyx_connection_inbound_info shaken_stir_enabled",
        "Instant ringback": "telnyx_connection_inbound_info instant_ringback_enabled",
        "First answer within (s)": "telnyx_connection_inbound_timeout_1xx_seconds",
        "Picked up within (s)": "telnyx_connection_inbound_timeout_2xx_seconds",
    },
    "Calls from the connection": {
        "Channel limit": "telnyx_connection_outbound_channel_limit",
        "Authentication": "telnyx_connection_transport_info outbound_authentication",
        "Caller ID override": "telnyx_connection_outbound_info ani_override_type",
        "Localization": "telnyx_connection_outbound_info localization",
        "T.38 reinvite from": "telnyx_connection_outbound_info t38_reinvite_source",
        "Outbound voice profile": "telnyx_connection_outbound_info outbound_voice_profile_id",
        "Call parking": "telnyx_connection_outbound_info call_parking_enabled",
        "Instant ringback": "telnyx_connection_outbound_info instant_ringback_enabled",
        "Ringback tone": "telnyx_connection_outbound_info generate_ringback_tone",
    },
    "Webhooks": {
        "API version": "telnyx_connection_webhook_info webhook_api_version",
        "Host": "telnyx_connection_webhook_info webhook_host",
        "Failover host": "telnyx_connection_webhook_info webhook_failover_host",
        "Call cost included": "telnyx_connection_webhook_info call_cost_in_webhooks",
        "Failover after (s)": "telnyx_connection_webhook_timeout_seconds",
    },
    "Media": {
        "RTCP port": "telnyx_connection_rtcp_info port",
        "RTCP capture": "telnyx_connection_rtcp_info capture_enabled",
        "RTCP report every (s)": "telnyx_connection_rtcp_report_interval_seconds",
        "Noise suppression": "telnyx_connection_noise_suppression_info direction",
        "Noise suppression engine": "telnyx_connection_noise_suppression_info engine",
        "Noise attenuation limit": "telnyx_connection_noise_suppression_attenuation_limit",
        "Jitter buffer (1 is on)": "telnyx_connection_jitter_buffer_enabled",
        "Jitter buffer at least (s)": "telnyx_connection_jitter_buffer_min_seconds",
        "Jitter buffer at most (s)": "telnyx_connection_jitter_buffer_max_seconds",
    },
}
"""Settings by table title and display name. The source is a metric, or a metric and one of its labels."""

SHOWN_ELSEWHERE = {
    "telnyx_connection_active",
    "telnyx_connection_created_timestamp_seconds",
    "telnyx_connection_updated_timestamp_seconds",
    "telnyx_connection_registered",
    "telnyx_connection_registration_updated_timestamp_seconds",
}
"""Metrics that have panels of their own."""


def settings_tables() -> dict[str, dict[str, str]]:
    """Return SETTINGS, and the metrics and labels that it does not list, which are displayed under their own names.

    A label appears in the first table that has another label of its metric. Anything else appears in the first table.
    """
    tables = {title: dict(settings) for title, settings in SETTINGS.items()}
    listed = {source for settings in SETTINGS.values() for source in settings.values()} | SHOWN_ELSEWHERE
    for family in CONNECTION_FAMILIES.values():
        if isinstance(family, MultiGauge):
            continue
        for source in [f"{family.name} {label}" for label in family.labels] or [family.name]:
            if source not in listed:
                name = source.rpartition(" ")[2].removeprefix("telnyx_connection_").removesuffix("_enabled")
                siblings = (
                    table
                    for table in tables.values()
                    if any(other.partition(" ")[0] == family.name for other in table.values())
                )
                next(siblings, tables["General"])[name.replace("_", " ").capitalize()] = source
    return tables


THIS_CONNECTION = '{connection_id="$connection"}'
NAMED_ACCOUNT = '{connection_id="$connection",account!=""}'
"""Selects the connection if its account has a name."""


def this_connection(metric: str, only: str = "") -> str:
    """Return a query for a metric of the selected connection, from the replica that refreshed last."""
    return newest(f"{metric}{only or THIS_CONNECTION}", THIS_CONNECTION)


def setting(title: str, source: str) -> str:
    """Return a query for a setting, with its title in the label `setting` and its value in `set_to`."""
    metric, _, label = source.partition(" ")
    selector = NAMED_ACCOUNT if label == "account" else THIS_CONNECTION
    value = (
        f'label_replace({metric}{selector}, "set_to", "$1", "{label}", "(.*)")'
        if label
        else f'count_values by (job, instance, account, connection_id) ("set_to", {metric}{THIS_CONNECTION})'
    )
    return f'label_replace({value}, "setting", "{title}", "", "")'


INFO = this_connection("telnyx_connection_info")
ENCRYPTED, UNENCRYPTED = (
    this_connection("telnyx_connection_info", f'{{connection_id="$connection",encrypted_media="{encryption}"}}')
    for encryption in ("SRTP", "none")
)


def settings_panels() -> Iterator[Panel]:
    """Yield a table for each group of settings, one for the codecs, and one for the tags."""
    for title, settings in settings_tables().items():
        samples = " or ".join(setting(name, source) for name, source in settings.items())
        yield table_panel(
            title,
            f"Settings of the connection: {title[0].lower()}{title[1:]}. A limit that is not set has no row. A"
            " setting that the connection's type lacks is empty or has no row.",
            Column("Setting", label="setting"),
            Column("Value", label="set_to", mappings=[*YES_NO, *TYPE.mappings, *map_missing("-")]),
            labels=(f"max by (setting, set_to) ({newest(f'({samples})', THIS_CONNECTION)})",),
            width=8,
            height=12,
        )
    yield table_panel(
        "Codecs",
        "Codecs for calls to the connection, in order of preference.",
        Column(
            "Order", promql=f"max by (codec) ({this_connection('telnyx_connection_inbound_codec_priority')})", width=80
        ),
        Column("Codec", label="codec"),
        width=4,
        height=12,
    )
    yield table_panel(
        "Tags",
        "The tags of the connection.",
        Column("Tag", label="tag"),
        labels=(f"max by (tag) ({this_connection('telnyx_connection_tag_info')})",),
        width=4,
        height=12,
    )


def only_types(*record_types: str) -> str:
    """Return a query with the value -1 if the selected connection has another type."""
    types = f'{{connection_id="$connection",record_type!~"{"|".join(record_types)}"}}'
    return f"-1 * max({this_connection('telnyx_connection_info', types)})"


def of_profile(promql: str) -> str:
    """Limit a query by profile to the profile of the selected connection."""
    return f"({promql}) and on (account, profile_id) {CONNECTION_PROFILE}"


def number_of(metric: str, collector: str, matcher: str = "") -> str:
    """Return a query for a number about the selected connection, which is 0 if the collector has no data about it."""
    limit = latest if metric == "telnyx_phone_numbers" else latest_of_connection
    this = limit(f'{metric}{{connection_id="$connection"{matcher}}}', collector)
    return f"sum({this}) or 0 * max({metric})"


CONNECTION_PROFILE = connection_profiles('{connection_id="$connection",outbound_voice_profile_id!=""}', THIS_CONNECTION)
CALLS = latest_of_connection(f"telnyx_connection_active_calls{THIS_CONNECTION}", "active-calls")
NO_PROFILE = f"max({INFO} unless on (connection_id) {CONNECTION_PROFILE})"
ENDPOINTS = " or ".join(
    f"max({latest_of_connection(f'telnyx_connection_{kind}{THIS_CONNECTION}', 'endpoints')})"
    for kind in ("ips", "fqdns")
)
STATUS_AND_TRANSPORT = (
    f"label_join({this_connection('telnyx_connection_registration_status')},"
    ' "registration", ", ", "status", "transport")'
)
REGISTRATION_STATUS = f'label_replace({STATUS_AND_TRANSPORT}, "registration", "$1", "registration", "(.*), ")'


def registration() -> tuple[Panel, ...]:
    """Return the panels about the profile and the registration."""
    profile = "${__field.labels.profile_id:percentencode}"
    return (
        stat_panel(
            "Outbound profile",
            "The outbound voice profile of the connection. Red means that it is disabled and that calls from the"
            " connection fail: enable the profile, or assign another one.",
            f"{of_profile(by_profile_and_name(profile_metric('enabled')))}"
            f' or label_replace(2 * {NO_PROFILE}, "profile_name", "none", "", "")',
            label="profile_name",
            limits=thresholds((1, GREEN), (2, "text"), base=RED),
            width=6,
            no_value=needs(PROFILES),
        ),
        stat_panel(
            "Profile",
            "Whether the outbound voice profile is enabled. Click the value to see the profile.",
            of_profile(ENABLED),
            mappings=PROFILE_STATES,
            width=3,
            no_value="-",
            link=Link(title="Show the profile", url=f"/d/telnyx-money?var-profile={profile}&{LINK_PARAMETERS}"),
        ),
        stat_panel(
            "Daily spend limit",
            "Maximum daily spend on calls with the outbound voice profile, in USD.",
            f"max({of_profile(DAILY_LIMIT)})",
            unit="currencyUSD",
            mappings=LIMIT_OFF,
            width=3,
            no_value="-",
        ),
        stat_panel(
            "Registration status",
            "The SIP registration status, and the transport if Telnyx reports it. Only credential and UAC connections"
            " have a registration.",
            f"max by (registration) ({REGISTRATION_STATUS})",
            label="registration",
            width=6,
            no_value="n/a",
        ),
        stat_panel(
            "Registration expires",
            "When the SIP registration expires, unless the device renews it. Telnyx reports this only for credential"
            " connections.",
            f"1000 * max({this_connection('telnyx_connection_registration_expires_timestamp_seconds')})"
            f" or {only_types('credential_connection')}"
            f" or max({this_connection('telnyx_connection_registered')} == 0)",
            unit="dateTimeFromNow",
            mappings=map_values({"-1": ("n/a", ""), "0": ("not registered", ORANGE)}),
            width=6,
            no_value=needs("registrations"),
        ),
    )


def reachability() -> tuple[Panel, ...]:
    """Return the panels about endpoints, phone numbers and credentials."""
    credentials = "telnyx_connection_telephony_credentials"
    expiry = f"{credentials}_next_expiry_timestamp_seconds{THIS_CONNECTION}"
    return (
        stat_panel(
            "Endpoints",
            "Number of IP addresses of an IP connection, or of FQDNs of an FQDN connection. If there are none, calls"
            " to the connection fail: add one.",
            f"{ENDPOINTS} or {only_types('ip_connection', 'fqdn_connection')}",
            mappings=map_values({"-1": ("n/a", ""), "0": ("none", RED)}),
            width=5,
            no_value=needs("endpoints"),
        ),
        stat_panel(
            "Phone numbers",
            "Number of phone numbers whose calls go to the connection.",
            number_of("telnyx_phone_numbers", "phone-numbers"),
            width=5,
            no_value=needs("phone-numbers"),
        ),
        stat_panel(
            "Not active",
            "Phone numbers of the connection that are not active. Calls to them fail. Normally 0.",
            number_of("telnyx_phone_numbers", "phone-numbers", ',status!="active"'),
            limits=WARN_ABOVE_ZERO,
            width=2,
            no_value="-",
        ),
        stat_panel(
            "Telephony credentials",
            "Number of valid telephony credentials of the connection.",
            number_of(credentials, "telephony-credentials", ',expired="false"'),
            width=6,
            no_value=needs("telephony-credentials"),
        ),
        stat_panel(
            "Expired",
            "Expired telephony credentials of the connection. Nobody can register or call with them: delete or replace"
            " them.",
            number_of(credentials, "telephony-credentials", ',expired="true"'),
            limits=WARN_ABOVE_ZERO,
            width=2,
            no_value="-",
        ),
        stat_panel(
            "Next expiry",
            "When the next valid telephony credential expires.",
            f"1000 * min({latest_of_connection(expiry, 'telephony-credentials')})",
            unit="dateTimeFromNow",
            width=4,
            no_value="-",
        ),
    )


def connection() -> Dashboard:
    """Return the dashboard of one connection."""
    return build_dashboard(
        "telnyx-connection",
        "Telnyx / Connection",
        "One connection: its state, registration and limits over time, and all its settings.",
        (
            "",
            (
                stat_panel(
                    "Name",
                    "The current name of the connection.",
                    by_id_and_name(INFO),
                    label="connection_name",
                    width=4,
                ),
                stat_panel(
                    "Type",
                    "The type of the connection.",
                    f"max by (record_type) ({INFO})",
                    label="record_type",
                    names=RECORD_TYPE,
                    width=3,
                ),
                stat_panel(
                    "State",
                    "Whether the connection is active. If it is disabled, all its calls fail: enable it in the Telnyx"
                    " portal.",
                    f"max({this_connection('telnyx_connection_active')})",
                    mappings=ON_OFF,
                    width=2,
                ),
                stat_panel(
                    "Outbound limit",
                    "Maximum number of concurrent calls from the connection.",
                    f"max({this_connection('telnyx_connection_outbound_channel_limit')})",
                    no_value="no limit",
                    width=2,
                ),
                stat_panel(
                    "Inbound limit",
                    "Maximum number of concurrent calls to the connection.",
                    f"max({this_connection('telnyx_connection_inbound_channel_limit')})",
                    no_value="no limit",
                    width=2,
                ),
                stat_panel(
                    "Created",
                    "When the connection was created.",
                    f"1000 * max({this_connection('telnyx_connection_created_timestamp_seconds')})",
                    unit="dateTimeFromNow",
                    width=3,
                ),
                stat_panel(
                    "Changed",
                    "When a setting of the connection was last changed.",
                    f"1000 * max({this_connection('telnyx_connection_updated_timestamp_seconds')})",
                    unit="dateTimeFromNow",
                    width=3,
                ),
                stat_panel(
                    "Times changed",
                    "Number of changes of the connection in the selected time range. Changes between two scrapes count"
                    " once.",
                    "sum(changes((max by (connection_id)"
                    f" (telnyx_connection_updated_timestamp_seconds{THIS_CONNECTION}))[$__range:$__interval]))",
                    width=2,
                ),
                stat_panel(
                    "Registration",
                    "When the SIP registration status last changed. Only credential and UAC connections have a"
                    " registration.",
                    f"1000 * max({this_connection('telnyx_connection_registration_updated_timestamp_seconds')})",
                    unit="dateTimeFromNow",
                    no_value="n/a",
                    width=3,
                ),
                timeline(
                    "State, media encryption and registration over time",
                    "When the connection was active, encrypted its media, and was registered. A setting that its type"
                    " lacks has no line.",
                    ("State", f"max({this_connection('telnyx_connection_active')})"),
                    ("Media", f"2 + max({ENCRYPTED}) or 2 * max({UNENCRYPTED})"),
                    ("Registration", f"4 + max({this_connection('telnyx_connection_registered')})"),
                    mappings=map_values(
                        {
                            "0": ("Disabled", RED),
                            "1": ("Active", GREEN),
                            "2": ("Not encrypted", ORANGE),
                            "3": ("SRTP", GREEN),
                            "4": ("Not registered", ORANGE),
                            "5": ("Registered", GREEN),
                        }
                    ),
                    width=15,
                    height=6,
                ),
                alerts_of_this_connection(),
                graph(
                    "Calls and limits over time",
                    "Calls in progress, and the channel limits. A direction without a limit has no line. Calls need"
                    " --collector.active-calls; Telnyx counts them only for applications and for connections with a"
                    " webhook.",
                    ("Calls", f"max({CALLS})"),
                    ("Outbound limit", f"max({this_connection('telnyx_connection_outbound_channel_limit')})"),
                    ("Inbound limit", f"max({this_connection('telnyx_connection_inbound_channel_limit')})"),
                    width=24,
                    steps=True,
                    colors={"Calls": GREEN},
                ),
            ),
        ),
        ("Profile, registration and numbers", (*registration(), *reachability())),
        ("Settings", tuple(settings_panels())),
        variables=(
            variable(
                "connection",
                f"query_result({scoped(CONNECTION_NAMES)})",
                regex='/connection_id="(?<value>[^"]*)",connection_name="(?<text>.*)"}/',
            ),
        ),
        annotations=(mark_alerts(ABOUT_THIS_CONNECTION), mark_changes(THIS_CONNECTION)),
    )
