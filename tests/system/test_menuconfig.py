"""kernel menuconfig with the kernel's own menuconfig, on a terminal."""

import contextlib
import select
import socket
import threading
import time
import unittest

import kdbg
from terminal import Terminal


@contextlib.contextmanager
def menuconfig(*arguments, columns=100, rows=30, **environment):
    """kdbgctl kernel menuconfig at its first menu, in an empty directory of its own."""
    with kdbg.scratch() as scratch:
        terminal = Terminal([kdbg.BIN / "kdbgctl", "kernel", "menuconfig", kdbg.LINUX, *arguments],
                            columns=columns, rows=rows, cwd=scratch,
                            env=kdbg.environment() | {"TERM": "xterm-256color"} | environment)
        terminal.directory = scratch
        try:
            terminal.until("Kernel Configuration")
            terminal.until("General setup")
            yield terminal
        finally:
            terminal.close()


def go_to(terminal, symbol, prompt):
    """To the menu that has `symbol`, the cursor on it."""
    terminal.type("/")
    terminal.until("Search Configuration Parameter")
    terminal.type(f"^{symbol}$\r")
    terminal.until(rf"\(1\)|Symbol: {symbol}")
    terminal.type("1")
    terminal.until(prompt)


def leave(terminal):
    """Out of the menu that go_to led to, by its < Exit >, and out of the first one: to the question at the end."""
    terminal.type("\t\r")
    terminal.until("Symbol: ")
    terminal.type("\r")
    terminal.until("General setup  --->")
    terminal.type("\t\r")


def sandboxed():
    """Process ids of menuconfig itself."""
    return kdbg.processes("scripts/kconfig/mconf")


class Menuconfig(unittest.TestCase):
    def test_what_is_toggled_and_saved_is_in_the_local_config(self):
        with menuconfig() as terminal:
            go_to(terminal, "LOCALVERSION_AUTO", r"\[ \] Automatically append version information")
            terminal.type("y")
            terminal.until(r"\[\*\] Automatically append version information")
            leave(terminal)
            terminal.until("Do you wish to save")
            terminal.type("\r")
            self.assertEqual(terminal.wait(), 0)
            self.assertIn("saved .config", terminal.text())
            config = (terminal.directory / ".config").read_text().splitlines()
        self.assertIn("CONFIG_LOCALVERSION_AUTO=y", config)
        self.assertIn("CONFIG_GDB_SCRIPTS=y", config)

    def test_a_config_saved_is_where_the_next_one_starts_and_a_build_takes_it(self):
        with kdbg.scratch() as scratch:
            path = scratch / "mine.config"
            with menuconfig("--set", "CONFIG_LOCALVERSION=\"-mine\"", "-O", path) as terminal:
                terminal.type("\t\t\t\r")  # < Save >
                terminal.until("Enter a filename")
                terminal.type("\r")
                terminal.until("written to")
                terminal.type("\r")
                terminal.until("General setup  --->")
                terminal.type("\t\r")
                self.assertEqual(terminal.wait(), 0)
            self.assertIn('CONFIG_LOCALVERSION="-mine"', path.read_text())
            with menuconfig("-O", path) as terminal:
                go_to(terminal, "LOCALVERSION", r"\(-mine\) Local version")
                leave(terminal)
                self.assertEqual(terminal.wait(), 0)
                self.assertIn("nothing was saved", terminal.text())

    def test_the_window_may_change_its_size(self):
        with menuconfig(columns=100, rows=30) as terminal:
            frame = "[─q]{%d}"  # as pyte shows it
            self.assertNotRegex(terminal.text(), frame % 110)
            terminal.resize(140, 45)
            terminal.until(frame % 110)
            terminal.resize(90, 25)
            terminal.until("(?m)^.*[─q]{60}")

    def test_ctrl_c_asks_whether_to_save(self):
        with menuconfig() as terminal:
            go_to(terminal, "LOCALVERSION_AUTO", r"\[ \] Automatically append")
            terminal.type("y")
            terminal.until(r"\[\*\] Automatically append")
            terminal.type("\x03")
            terminal.until("Do you wish to save")
            terminal.type("\r")
            self.assertEqual(terminal.wait(), 0)
            self.assertIn("CONFIG_LOCALVERSION_AUTO=y", (terminal.directory / ".config").read_text())

    def test_has_colours(self):
        with menuconfig() as terminal:
            colours = {cell.bg for line in terminal.screen.buffer.values() for cell in line.values()}
        self.assertIn("blue", colours)

    def test_nconfig_is_there_as_well(self):
        with menuconfig("--nconfig") as terminal:
            terminal.until("F1")

    def test_a_client_that_is_killed_takes_the_sandbox_with_it(self):
        with menuconfig() as terminal:
            self.assertNotEqual(sandboxed(), [])
            terminal.program.kill()
            begin = time.monotonic()
            kdbg.eventually(lambda: not sandboxed(), timeout=10, interval=0.02)
            self.assertLess(time.monotonic() - begin, 2)
        editors = kdbg.folder() / "state/workspaces/editors"
        kdbg.eventually(lambda: not list(editors.iterdir()))

    def test_works_over_a_slow_link(self):
        with slow_link(delay=0.1, bytes_per_second=20_000) as link, \
                menuconfig(KDBG_SERVER=f"unix:{link.path}") as terminal:
            sent = link.carried
            slowest = 0
            for _ in range(8):
                before = terminal.screen.cursor.y
                terminal.type("\x1bOB")  # down, as a keypad in application mode says it
                begin = time.monotonic()
                while terminal.screen.cursor.y == before:
                    self.assertTrue(terminal.read(10), terminal.text())
                slowest = max(slowest, time.monotonic() - begin)
            per_key = (link.carried - sent) / 8
            print(f"slowest answer to a key {slowest:.3f} s, {per_key:.0f} bytes for each")
            self.assertLess(slowest, 1)  # two times the delay, and the drawing
            self.assertLess(per_key, 2000)


class slow_link:
    """A relay of the daemon's socket that delays each way and lets only so much through."""

    def __init__(self, delay, bytes_per_second):
        self.delay, self.rate, self.carried = delay, bytes_per_second, 0

    def __enter__(self):
        self.scratch = kdbg.scratch()
        self.path = self.scratch.__enter__() / "slow.sock"
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(self.path))
        self.listening.listen()
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.listening.close()
        self.scratch.__exit__(*error)

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listening.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(str(kdbg.folder() / "kdbgd.sock"))
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self.carry, args=(source, target), daemon=True).start()

    def carry(self, source, target):
        waiting, free_at = [], 0
        with contextlib.suppress(OSError):
            while True:
                timeout = max(0, waiting[0][0] - time.monotonic()) if waiting else None
                ready, _, _ = select.select([source] if len(waiting) < 64 else [], [], [], timeout)
                if ready:
                    data = source.recv(1024)
                    if not data:
                        break
                    free_at = max(free_at, time.monotonic()) + len(data) / self.rate
                    waiting.append((free_at + self.delay, data))
                while waiting and waiting[0][0] <= time.monotonic():
                    data = waiting.pop(0)[1]
                    target.sendall(data)
                    self.carried += len(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()
