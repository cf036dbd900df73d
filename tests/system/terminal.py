"""A terminal with somebody at it: a program on a pty, the screen as pyte draws it, keys."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import pyte

import kdbg


class Terminal:
    def __init__(self, arguments, columns=100, rows=30, **options):
        self.master, slave = pty.openpty()
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.resize(columns, rows)
        self.received = b""
        # A session of its own with the terminal as its controlling one, as a shell's job has it.
        self.program = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *map(str, arguments)], stdin=slave, stdout=slave, stderr=slave, **options)
        os.close(slave)

    def resize(self, columns, rows):
        self.screen.resize(rows, columns)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys):
        os.write(self.master, keys.encode())

    def text(self):
        return "\n".join(self.screen.display)

    def until(self, pattern, timeout=60):
        """Reads until `pattern` is on the screen; how long that took, in seconds."""
        begin = time.monotonic()
        while not re.search(pattern, self.text()):
            left = begin + timeout - time.monotonic()
            if not self.read(left):
                raise AssertionError(f"no {pattern!r} on the screen within {timeout} s, but:\n{self.text()}")
        return time.monotonic() - begin

    def read(self, timeout):
        """Draws what comes next; False when nothing does."""
        ready, _, _ = select.select([self.master], [], [], max(0, timeout))
        more = b""
        with contextlib.suppress(OSError):  # the program has gone
            more = os.read(self.master, 65536) if ready else b""
        self.received += more
        self.stream.feed(more)
        return bool(more)

    def wait(self, timeout=60):
        """Reads to the program's end; its exit code."""
        while self.read(timeout):
            pass
        return self.program.wait(timeout=timeout)

    def close(self):
        self.program.kill()
        self.program.wait()
        os.close(self.master)


@contextlib.contextmanager
def shell(session):
    """Somebody at the guest's shell."""
    terminal = Terminal([kdbg.BIN / "kdbgctl", "console", session["name"], "--since", "0"],
                        env=kdbg.environment())
    try:
        terminal.until(r"\$ *\n* *$")
        yield terminal
    finally:
        terminal.close()
