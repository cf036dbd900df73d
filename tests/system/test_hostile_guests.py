"""Guests that misbehave: each harms its own session, and the rest of the service does not notice."""

import json
import pathlib
import unittest

import kdbg
from terminal import shell

FLOOD = "while :; do cat /proc/kallsyms; done\r"
SPIN = "while :; do :; done & while :; do :; done & echo spinning $((40 + 2))\r"


def daemon_memory():
    """What the daemon itself holds, in MiB."""
    pid = json.loads(kdbg.RUN_FILE.read_text())["pid"]
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) >> 10


class HostileGuest(unittest.TestCase):
    def assert_others_do_not_notice(self):
        with kdbg.session() as other:
            shown = kdbg.gdb(other["name"], "break kernel_init", "continue")
            self.assertRegex(shown.stdout, r"Breakpoint 1, kernel_init", shown)

    def test_one_that_floods_its_console_costs_bounded_memory_and_can_be_ended(self):
        before = daemon_memory()
        with kdbg.session("--stop-at", "none") as session:
            with shell(session) as terminal:
                terminal.type(FLOOD)
                terminal.until("T ")
                # This reader goes no further, and the guest goes on.
                flooded = kdbg.show("session", session["name"]).get("consoleSizeBytes", 0)
                self.assert_others_do_not_notice()
                kdbg.eventually(lambda: len(kdbg.console(session["name"])) > int(flooded) + 100_000)
            self.assertLess(daemon_memory() - before, 64)
            kdbg.ctl("session", "rm", session["name"])

    def test_one_that_spins_on_all_its_processors_can_be_debugged_and_ended(self):
        with kdbg.session("--stop-at", "none", "--cpus", "2") as session:
            with shell(session) as terminal:
                terminal.type(SPIN)
                terminal.until("spinning 42")
            self.assert_others_do_not_notice()
            shown = kdbg.gdb(session["name"], "info threads")
            self.assertRegex(shown.stdout, r"\* 1 .*CPU#0[\s\S]*  2 .*CPU#1", shown)
            kdbg.ctl("session", "rm", session["name"])

    def test_one_that_resets_itself_ends_with_that_as_the_reason(self):
        with kdbg.scratch() as scratch:
            init = scratch / "init"
            init.write_text("#!/bin/sh\nreboot -f\n")
            init.chmod(0o755)
            kdbg.ctl("initramfs", "build", "--name", "resets", "--init", init, timeout=300)
        for _ in range(3):
            with kdbg.session_on("--kernel", kdbg.KERNEL, "--initramfs", "resets", "--stop-at", "none") as session:
                ended = kdbg.eventually(lambda: over(session))
                self.assertEqual(ended["endReason"], "GUEST_EXITED")
                self.assertIn("Restarting system", kdbg.console(session["name"]))
        self.assert_others_do_not_notice()


def over(session):
    now = kdbg.show("session", session["name"])
    return now if now["state"] == "ENDED" else None
