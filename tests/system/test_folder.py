"""What a session brings to its guest besides kernel and initramfs: a folder of the caller's, and devices."""

import unittest

import kdbg
from terminal import shell


class Folder(unittest.TestCase):
    def test_a_guest_reads_it_and_cannot_write_it_and_has_the_devices(self):
        devices = [word for name in ("edu", "e1000e", "i6300esb", "pci-testdev", "rng", "xhci")
                   for word in ("--device", name)]
        with kdbg.scratch() as scratch:
            (scratch / "tools").mkdir()
            (scratch / "tools/hello").write_text("#!/bin/sh\necho it runs $((40 + 2))\n")
            (scratch / "tools/hello").chmod(0o700)
            with kdbg.session("--stop-at", "none", "--share", scratch, *devices) as session:
                with shell(session) as terminal:
                    terminal.type("/mnt/tools/hello\r")
                    terminal.until("it runs 42")
                    terminal.type("touch /mnt/new\r")
                    terminal.until("Read-only file system")
                    terminal.type("grep -c 0x11e8 /sys/bus/pci/devices/*/device; echo looked $((40 + 2))\r")
                    terminal.until("looked 42")
                    self.assertRegex(terminal.text(), r"/device:1\s")
                inside = kdbg.folder() / "state/guests" / session["name"].split("/")[-1] / "folder/files"
                self.assertTrue((inside / "tools/hello").exists())
        kdbg.eventually(lambda: not inside.exists())

    def test_a_device_that_is_not_on_the_list_is_refused_with_those_that_are(self):
        refused = kdbg.ctl("session", "create", "--kernel", kdbg.KERNEL, "--initramfs", kdbg.INITRAMFS, "--device",
                           "vfio-pci,host=00:02.0", expect=kdbg.Exit.USAGE)
        self.assertIn("there are edu, e1000e", refused.stderr)
