"""PromQL about outbound voice profiles and the connections that use them."""

from __future__ import annotations

from queries import by_id_and_name, latest, newest

PROFILES = "outbound-voice-profiles"
"""The collector that reads them."""
BY_PROFILE = "max by (account, profile_id)"


def profile_metric(name: str, only: str = "") -> str:
    """Return a query for a metric of profiles, from the replica that read the profiles last."""
    return latest(f"telnyx_outbound_voice_profile_{name}{only}", PROFILES)


def by_profile(name: str) -> str:
    """Return a query for a metric of profiles by account and profile ID."""
    return f"{BY_PROFILE} ({profile_metric(name)})"


def by_profile_and_name(promql: str, *labels: str) -> str:
    """Return a query for values by account, profile ID, name and these labels."""
    return f"max by ({', '.join(('account', 'profile_id', 'profile_name', *labels))}) ({promql})"


def connection_profiles(selector: str = '{outbound_voice_profile_id!=""}', only: str = "") -> str:
    """Return a query for the connections that have a profile, each with the label `profile_id`.

    `only` is the part of the selector that all metrics of connections have.
    """
    copied = (
        f"label_replace(telnyx_connection_outbound_info{selector},"
        ' "profile_id", "$1", "outbound_voice_profile_id", "(.+)")'
    )
    return by_id_and_name(newest(copied, only), "profile_id")


ENABLED = by_profile("enabled")
USED = f"{by_profile('connections')} > 0 or group by (account, profile_id) ({connection_profiles()})"
"""Profiles that a connection uses: as Telnyx counts, or as the lists of connections say."""
STATE = f"{ENABLED} == 1 or ({ENABLED} and on (account, profile_id) ({USED})) or ({ENABLED} + 2)"
"""1 for enabled profiles, 0 for disabled profiles in use, 2 for disabled profiles that no connection uses."""

_LIMIT_OFF = f"{by_profile('daily_spend_limit_enabled')} == 0"
DAILY_LIMIT = f"{by_profile('daily_spend_limit_usd')} or ({_LIMIT_OFF}) - 1"
"""The daily limit, or -1 for profiles whose limit is off."""
