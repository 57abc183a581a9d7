"""Reads an endpoint that returns one object: `{"data": {...}}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from exporter.telnyx.budget import UNLIMITED
from exporter.telnyx.errors import Malformed
from exporter.telnyx.lists.pages import DECODE_ERRORS, RowT, replace_lone_surrogates
from exporter.telnyx.lists.progress import NO_PROGRESS
from exporter.telnyx.lists.snapshots import ContentT, Snapshot, process_body

if TYPE_CHECKING:
    from exporter.telnyx.budget import Limiter
    from exporter.telnyx.http.client import Client
    from exporter.telnyx.lists.progress import Progress
    from exporter.telnyx.lists.snapshots import PageProcessor, ProcessedBody


T = TypeVar("T")


class _Body(msgspec.Struct, Generic[RowT], frozen=True):
    data: RowT


class ObjectDecoder(Generic[T]):
    """Decodes a response body strictly or, if that fails, leniently: numbers may then be text."""

    def __init__(self, body_type: type[T]) -> None:
        self._strict = msgspec.json.Decoder(body_type)
        self._lenient = msgspec.json.Decoder(body_type, strict=False)

    def __call__(self, body: bytes) -> T:
        """Return the decoded body. Raises `Malformed`."""
        try:
            return self._strict.decode(body)
        except DECODE_ERRORS:
            pass
        try:
            return self._lenient.decode(replace_lone_surrogates(body))
        except DECODE_ERRORS as error:
            problem = str(error)
        raise Malformed(f"the response can't be decoded: {problem}")


class ObjectReader(Generic[RowT, ContentT]):
    """Reads an object as a list of one row. If the response did not change, its content is the same object as before.

    The client's timeout bounds a whole `fetch`, as for a list.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        row_type: type[RowT],
        processor: PageProcessor[RowT, ContentT],
        *,
        limiter: Limiter = UNLIMITED,
        progress: Progress = NO_PROGRESS,
    ) -> None:
        self._client = client
        self._progress = progress
        self._path = path
        self._processor = processor
        self._limiter = limiter
        self._decode: ObjectDecoder[_Body[RowT]] = ObjectDecoder(
            _Body[row_type]  # type: ignore[valid-type]  # a variable, but its value is a type
        )
        self._cached: ProcessedBody[ContentT] | None = None

    async def fetch(self) -> Snapshot[ContentT]:
        """Read the object. Raises `TelnyxError`."""
        self._progress.record_progress(0, 1)
        session = self._client.session(self._limiter)
        body = await session.run(session.get(self._path, {}))
        self._progress.record_progress(1, 1)
        self._cached = await process_body(body, self._process, (self._cached,))
        return Snapshot((self._cached.result,), 1)

    async def check(self) -> None:
        """Request the object, once and without retries. Raises `TelnyxError`."""
        self._decode(await self._client.send_once(self._path, {}))

    def _process(self, body: bytes) -> ContentT:
        return self._processor.render_page((self._decode(body).data,))
