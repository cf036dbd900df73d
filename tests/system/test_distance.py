"""gdb through kdbgctl gdb-pipe: the same words as at the port, in few round trips."""

import re
import unittest

import distance
import kdbg
from kdbg import Exit

# What a panicked guest does not change any more.
LOOK = ["lx-ps", "lx-dmesg", "lx-version", "lx-cmdline", "backtrace -3", "x/64i vfs_read", "x/2048gx &init_task",
        "print init_task", "print *init_task.fs", "print linux_banner", "x/4gx 0xffffffffff5fc000", "x/4gx 0x10",
        "info line vfs_read", "monitor help"]


class Distance(unittest.TestCase):
    def test_a_far_gdb_prints_what_a_near_one_prints_in_a_tenth_of_its_round_trips(self):
        with kdbg.session_on("--kernel", kdbg.KERNEL, "--initramfs", "none", "--cpus", "2") as session:
            kdbg.gdb(session["name"], "continue")  # until it has panicked
            files = distance.symbols(session)
            kdbg.console_until(session["name"], "end Kernel panic")
            with distance.port(session, 0) as (link, target):
                near, near_round_trips = distance.gdb(files, target, *LOOK), link.round_trips
            with distance.pipe(session, 0) as (link, target):
                far, far_round_trips = distance.gdb(files, target, *LOOK), link.round_trips
        self.assertEqual(near.code, Exit.DONE, near)
        self.assertEqual(far.code, Exit.DONE, far)
        for expected in ("swapper", "kthreadd", "Kernel panic - not syncing", "Dump of|vfs_read", "Cannot access"):
            self.assertRegex(near.text, expected)
        # How deep in its last loop it is differs; where it came from does not.
        near, far = (re.sub(r"(?m)^#\d+ ", "#", distance.after_attaching(one)) for one in (near, far))
        self.assertEqual(far, near)
        self.assertLess(far_round_trips * 10, near_round_trips)

    def test_attaching_takes_three_round_trips(self):
        counts = []
        with kdbg.session("--stop-at", "kernel_init") as session:
            files = distance.symbols(session)
            for _ in range(3):  # what HTTP/2 acknowledges in between may look like one more
                with distance.pipe(session, 0.02) as (link, target):
                    shown = distance.gdb(files, target)
                    self.assertEqual(shown.code, Exit.DONE, shown)
                    counts.append(link.round_trips)
        self.assertLessEqual(min(counts), 4, "three, and one to leave")

    def test_breakpoints_and_steps_from_afar_are_where_they_are_from_near(self):
        walk = ["tbreak kernel_init", "tbreak run_init_process", "continue", "backtrace 2", *["step"] * 8, "finish",
                "hbreak vfs_read", "continue", "next", "next"]
        with kdbg.session() as session:
            files = distance.symbols(session)
        shown = []
        for reach in (distance.port, distance.pipe):
            with kdbg.session("--stop-at", "kernel_init") as session, reach(session, 0) as (_, target):
                shown.append(distance.gdb(files, target, *walk))
        # What lies where differs from boot to boot.
        near, far = (re.sub("0x[0-9a-f]+", "0x", distance.after_attaching(one)) for one in shown)
        self.assertRegex(near, r"run_init_process \(init_filename=.*\"/init\"")
        self.assertRegex(near, r"vfs_read \(file=[^)]*\) at \S*fs/read_write\.c:\d+")
        self.assertEqual(far, near)
