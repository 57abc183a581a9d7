"""The components that a bill of materials in CycloneDX lists."""

import json

from packaging.utils import canonicalize_name


def components_of(text):
    """Check that this is a valid bill of materials, and return its components by canonical name."""
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415 -- loading it takes seconds
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    return {canonicalize_name(component["name"]): component for component in json.loads(text)["components"]}
