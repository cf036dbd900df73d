"""What people really feed it: a clear message, the right code, nothing left behind."""

import io
import os
import signal
import tarfile
import time
import unittest

import kdbg
from kdbg import Exit


def member(name, kind=tarfile.REGTYPE, link="", data=b""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    return info, io.BytesIO(data)


def archive(path, *members):
    with tarfile.open(path, "w:gz") as tar:
        for info, data in members:
            tar.addfile(info, data)


class Source(unittest.TestCase):
    """Of kernel build: each is the source's own fault, so the command fails and the source is FAILED."""

    def refused(self, write, reason, naming):
        with kdbg.scratch() as scratch:
            path = scratch / "linux.tar.gz"
            write(path)
            finished = kdbg.ctl("kernel", "build", path, "--config", "tiny", "--name", "bad-input", expect=Exit.FAILED)
        self.assertIn(reason, finished.stderr)
        self.assertRegex(finished.stderr, naming)
        self.assertNotIn("bad-input", kdbg.ctl("build", "list").stdout)

    def test_that_is_no_archive(self):
        self.refused(lambda path: path.write_bytes(os.urandom(65536)), "NOT_AN_ARCHIVE", "archive|tarball")

    def test_that_is_empty(self):
        self.refused(lambda path: path.write_bytes(b""), "", "is empty")

    def test_that_is_truncated(self):
        def write(path):
            with open(kdbg.LINUX, "rb") as whole:
                path.write_bytes(whole.read(2_000_000))

        self.refused(write, "ARCHIVE_TRUNCATED", "truncated|ends|incomplete")

    def test_with_a_member_above_its_root(self):
        self.refused(lambda path: archive(path, member("linux/Makefile"), member("linux/../../evil", data=b"x")),
                     "ARCHIVE_UNSAFE_MEMBER", r"\.\./evil")

    def test_with_an_absolute_member(self):
        self.refused(lambda path: archive(path, member("linux/Makefile"), member("/etc/kdbg-evil", data=b"x")),
                     "ARCHIVE_UNSAFE_MEMBER", "/etc/kdbg-evil")
        self.assertFalse(os.path.exists("/etc/kdbg-evil"))

    def test_with_a_symbolic_link_that_leaves_it(self):
        self.refused(lambda path: archive(path, member("linux/Makefile"),
                                          member("linux/out", tarfile.SYMTYPE, "/etc"),
                                          member("linux/out/kdbg-evil", data=b"x")),
                     "ARCHIVE_UNSAFE_MEMBER", "out")
        self.assertFalse(os.path.exists("/etc/kdbg-evil"))

    def test_that_is_no_kernel(self):
        self.refused(lambda path: archive(path, member("thing/README", data=b"hello")), "", "no Linux kernel")

    def test_that_is_not_there(self):
        finished = kdbg.ctl("kernel", "build", "/nonexistent/linux.tar.xz", expect=None)
        self.assertIn(finished.code, (Exit.USAGE, Exit.NOT_FOUND))
        self.assertIn("/nonexistent/linux.tar.xz", finished.stderr)

    def test_whose_upload_was_killed_can_be_sent_again(self):
        with kdbg.scratch() as scratch:
            path = scratch / "linux.tar.gz"
            path.write_bytes(os.urandom(64 << 20))
            upload = kdbg.start(kdbg.BIN / "kdbgctl", "kernel", "build", path, "--name", "killed")
            time.sleep(0.3)  # in the middle, or before, or after: all must be fine
            upload.send_signal(signal.SIGKILL)
            upload.communicate()
            finished = kdbg.ctl("kernel", "build", path, "--name", "killed", expect=Exit.FAILED)
        self.assertRegex(finished.stderr, "archive|tarball")


class Config(unittest.TestCase):
    def build(self, *arguments, expect):
        return kdbg.ctl("kernel", "build", kdbg.LINUX, "--name", "bad-config", *arguments, expect=expect, timeout=280)

    def test_that_is_no_config(self):
        with kdbg.scratch() as scratch:
            path = scratch / "config"
            path.write_text("this is\nno kernel config\n")
            finished = self.build("--config", path, expect=None)
        self.assertIn(finished.code, (Exit.FAILED, Exit.USAGE), finished)
        self.assertIn("line 1", finished.stderr)

    def test_with_an_unknown_symbol_names_it(self):
        finished = self.build("--config", "tiny", "--set", "CONFIG_NO_SUCH_THING=y", expect=None)
        self.assertIn(finished.code, (Exit.FAILED, Exit.USAGE), finished)
        self.assertIn("CONFIG_NO_SUCH_THING", finished.stderr)

    def test_that_loses_a_symbol_names_the_dependency(self):
        finished = self.build("--config", "tiny", "--set", "CONFIG_USB_STORAGE=y", expect=Exit.FAILED)
        self.assertIn("CONFIG_USB_STORAGE", finished.stderr)
        self.assertRegex(finished.stderr, r"needs CONFIG_(USB|SCSI)")

    def test_named_but_unknown(self):
        finished = self.build("--config", "no_such_defconfig", expect=None)
        self.assertNotEqual(finished.code, Exit.DONE)
        self.assertIn("no_such_defconfig", finished.stderr)


class Names(unittest.TestCase):
    def test_of_a_build_that_is_not_there(self):
        for command in (("show",), ("log",), ("cancel",), ("watch",)):
            finished = kdbg.ctl("build", *command, "no-such-build", expect=Exit.NOT_FOUND)
            self.assertIn("no-such-build", finished.stderr)

    def test_of_a_session_that_is_not_there(self):
        kdbg.ctl("session", "show", "s-nothere", expect=Exit.NOT_FOUND)
        kdbg.ctl("gdb", "s-nothere", expect=Exit.NOT_FOUND)

    def test_of_an_artifact_that_is_not_there(self):
        kdbg.ctl("artifact", "show", "a-nothere", expect=Exit.NOT_FOUND)

    def test_with_odd_characters(self):
        for name in ("../../etc", "a b", "x" * 300, "\u00e9", "-"):
            finished = kdbg.ctl("build", "show", "--", name, expect=None)
            self.assertIn(finished.code, (Exit.USAGE, Exit.NOT_FOUND), finished)
