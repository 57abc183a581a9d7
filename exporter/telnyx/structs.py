"""The base of the structs that hold API data.

A collector declares the fields that it uses as structs, and nothing else, so the decoder skips SIP passwords and never
creates objects for them. Every field except the id is optional, as in Telnyx's schema; `None` means null or absent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec

Decimal: TypeAlias = str | int | float
"""A decimal number. Telnyx sends amounts of money as text, such as `300.00`."""
Int: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
"""An integer that a sample, which is a float, can hold exactly. JSON allows integers of any size."""

if TYPE_CHECKING:
    Id: TypeAlias = str
else:
    Id: TypeAlias = str | int
    """An id. Telnyx sends strings and integers of 19 digits; a decoded struct holds the exact digits as text."""


def ids_to_text(struct: msgspec.Struct, *fields: str) -> None:
    """Convert ids that were decoded as integers to text."""
    for field in fields:
        value = getattr(struct, field)
        if type(value) is int:
            msgspec.structs.force_setattr(struct, field, str(value))


class ApiObject(msgspec.Struct, frozen=True, gc=False):
    """Base of all structs that hold API data.

    Its `repr` shows no field, because fields can contain logins, phone numbers or URLs with credentials.
    """

    @property
    def id(self) -> str:
        """Identifies the object in its list. Empty if it is a single object."""
        return ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Row(ApiObject, frozen=True, gc=False, kw_only=True):
    """Base of the rows of a list. The id is the only required field."""

    id: Id

    def __post_init__(self) -> None:
        """Convert the id to text."""
        ids_to_text(self, "id")
