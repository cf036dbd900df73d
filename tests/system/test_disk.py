"""A guest's disk, asked from inside: it has the image's content, what is written stays the session's own."""

import unittest

import kdbg
from terminal import shell

SIZE = 1 << 20


class Disk(unittest.TestCase):
    def test_what_a_guest_writes_is_gone_with_a_reset_and_never_in_the_image(self):
        image = kdbg.folder() / "images" / "test.img"
        image.write_bytes(b"as it was".ljust(SIZE, b"\0"))
        drivers = [word for symbol in ("BLOCK", "BLK_DEV", "VIRTIO_BLK") for word in ("--set", f"{symbol}=y")]
        kdbg.ctl("kernel", "build", kdbg.LINUX, "--config", "tiny", *drivers, "--name", "with-disk", timeout=900)

        def first(terminal, expected):
            terminal.type("head -c 9 /dev/vda; echo \" it\" reads\r")
            terminal.until(rf"{expected} it reads")

        with kdbg.session_on("--kernel", "with-disk", "--initramfs", kdbg.INITRAMFS, "--stop-at", "none",
                             "--disk", image.name) as session:
            with shell(session) as terminal:
                first(terminal, "as it was")
                terminal.type("printf 'otherwise' | dd of=/dev/vda conv=notrunc && sync; echo written $((40 + 2))\r")
                terminal.until("written 42")
                first(terminal, "otherwise")
            with kdbg.session_on("--kernel", "with-disk", "--initramfs", kdbg.INITRAMFS, "--stop-at", "none",
                                 "--disk", image.name) as other, shell(other) as terminal:
                first(terminal, "as it was")
            kdbg.ctl("session", "reset", session["name"])
            kdbg.eventually(lambda: kdbg.console(session["name"]).count("Boot took") == 2)
            with shell(session) as terminal:
                first(terminal, "as it was")
        self.assertEqual(image.read_bytes(), b"as it was".ljust(SIZE, b"\0"))

    def test_a_kernel_without_a_driver_is_told_how_to_get_one(self):
        (kdbg.folder() / "images" / "any.img").write_bytes(bytes(SIZE))
        refused = kdbg.ctl("session", "create", "--kernel", kdbg.KERNEL, "--initramfs", kdbg.INITRAMFS, "--disk",
                           "any.img", expect=None)
        self.assertNotEqual(refused.code, kdbg.Exit.DONE)
        self.assertIn("VIRTIO_BLK=y", refused.stderr)
