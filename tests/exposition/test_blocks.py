import itertools
import mmap
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.exposition.blocks import Totals, compress, decompress, join

LINES = b"".join(b'telnyx_connection_active{connection_id="%d"} 1\n' % number for number in range(20_000))
TEXTS = st.lists(st.binary(max_size=300) | st.integers(0, len(LINES)).map(lambda length: LINES[:length]), max_size=5)


def text_of(block):
    """Return the text of a block."""
    return b"".join(decompress(block))


def inflate(blocks):
    """Return the text of joined blocks, decompressed by zlib in one go, as a client does."""
    data = b"".join(block.data for block in blocks) + b"\x03\x00"
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    text = inflater.decompress(data)
    assert (inflater.eof, inflater.unused_data) == (True, b"")
    return text


@given(TEXTS)
def test_a_block_keeps_its_text(texts):
    """Decompressing a block returns the text that it was made of, whatever other blocks were made with it."""
    blocks = compress(*texts)
    assert [text_of(block) for block in blocks] == texts
    assert [(block.crc, block.length) for block in blocks] == [(zlib.crc32(text), len(text)) for text in texts]


def test_an_empty_text_takes_no_bytes():
    """The block of an empty text has no data."""
    (block,) = compress(b"")
    assert (bytes(block.data), block.crc, block.length) == (b"", 0, 0)
    assert list(decompress(block)) == []


@given(TEXTS, st.randoms())
def test_blocks_can_follow_each_other_in_any_order(texts, order):
    """Blocks are the deflate data of their texts, in any order and any number of times. Totals describe the whole."""
    pairs = [*zip(compress(*texts), texts, strict=True), *zip(compress(*texts), texts, strict=True)]
    order.shuffle(pairs)
    blocks, text = [block for block, _ in pairs], b"".join(text for _, text in pairs)
    half = len(blocks) // 2
    assert inflate(blocks) == text
    assert Totals().followed_by(blocks) == Totals().followed_by(blocks[:half]).followed_by(blocks[half:])
    assert Totals().followed_by(blocks) == (zlib.crc32(text), len(text), sum(len(block.data) for block in blocks))


@given(TEXTS)
def test_join(texts):
    """A joined block has all texts. The blocks that it consists of keep theirs, but no memory of their own."""
    blocks = compress(*texts)
    joined = join(blocks)
    again = join([*blocks, *compress(b"more")])
    assert text_of(joined) == inflate([joined]) == b"".join(texts)
    assert text_of(again) == b"".join(texts) + b"more"
    assert [text_of(block) for block in blocks] == texts
    assert all(block.data.obj is again.data.obj for block in blocks)
    assert (joined.crc, joined.length) == (zlib.crc32(b"".join(texts)), sum(map(len, texts)))


@pytest.mark.parametrize(("size", "kind"), [(70_000, mmap.mmap), (60_000, bytes)], ids=["large", "small"])
def test_large_buffers_are_not_in_the_heap(size, kind):
    """A large buffer is a memory map, which goes back to the system when it is freed. No buffer can be written to."""
    first, second = compress(random.randbytes(size // 2), random.randbytes(size // 2))
    assert type(first.data.obj) is kind
    assert first.data.readonly
    assert second.data.obj is first.data.obj


@pytest.mark.parametrize("text", [LINES, bytes(len(LINES)), b"x"], ids=["lines", "zeros", "one byte"])
@given(max_length=st.integers(1, 2**20))
def test_decompression_is_bounded(text, max_length):
    """No piece is larger than the limit, however well the text is compressed."""
    (block,) = compress(text)
    pieces = list(itertools.islice(decompress(block, max_length), 50))
    assert all(len(piece) <= max_length for piece in pieces)
    assert text.startswith(b"".join(pieces))
    assert len(pieces) == 50 or b"".join(pieces) == text


def test_lines_are_compressed_well():
    """Sample lines are compressed to less than a tenth of their size."""
    (block,) = compress(LINES)
    assert len(block.data) < len(LINES) / 10
