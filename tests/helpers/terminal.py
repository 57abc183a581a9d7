"""A terminal that shows what a program writes to it."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import termios
import threading


class Screen:
    """The lines that are on the screen after some output, and all earlier states of each.

    Only the control sequences that progress bars need are known: return, line feed and cursor up.
    """

    def __init__(self, output):
        self.lines = [""]
        self.states = []
        self.width = 0
        row = column = 0
        for part in re.findall(r"\x1b\[A|\r|\n|[^\x1b\r\n]+", output):
            if part == "\x1b[A":
                row -= 1
                assert row >= 0
            elif part == "\r":
                column = 0
            elif part == "\n":
                row += 1
                self.lines += [""] * (row + 1 - len(self.lines))
            else:
                line = self.lines[row].ljust(column)
                self.lines[row] = line[:column] + part + line[column + len(part) :]
                column += len(part)
                self.width = max(self.width, column)
                self.states.append(self.lines[row].rstrip())
        assert not re.sub(r"\x1b\[A", "", output).count("\x1b"), "only cursor up is used, and no colors"
        self.cursor = (row, column)
        self.lines = [line.rstrip() for line in self.lines]

    @property
    def text(self):
        """The lines that are not empty."""
        return [line for line in self.lines if line]


@contextlib.contextmanager
def terminal(rows=24, columns=80):
    """Yield a stream that is a terminal, and a function that closes it and returns all output."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    pieces = []

    def read():
        with contextlib.suppress(OSError):  # how Linux says that nobody has the other end open
            while piece := os.read(main, 65536):
                pieces.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    stream = open(other, "w", encoding="utf-8")  # noqa: PTH123, SIM115 -- a descriptor

    def finish():
        stream.close()
        reader.join()
        return b"".join(pieces).decode().replace("\r\n", "\n\r")

    try:
        yield stream, finish
    finally:
        finish()
        os.close(main)
