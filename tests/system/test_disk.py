"""Sessions with a disk that cannot be had. What a guest does with one is in test_architectures, whose kernel has a
block layer."""

import unittest

import kdbg


class Disk(unittest.TestCase):
    def refused(self, image):
        refused = kdbg.ctl("session", "create", "--kernel", kdbg.KERNEL, "--initramfs", kdbg.INITRAMFS, "--disk", image,
                           expect=None)
        self.assertNotEqual(refused.code, kdbg.Exit.DONE)
        return refused.stderr

    def test_a_kernel_without_a_driver_is_told_how_to_get_one(self):
        (kdbg.folder() / "images" / "any.img").write_bytes(b"\0")
        self.assertIn("CONFIG_VIRTIO_BLK=y", self.refused("any.img"))

    def test_an_image_on_another_one_is_refused(self):
        # A header of qcow2: its magic, version 3, and where the name of the backing file stands.
        header = b"QFI\xfb" + (3).to_bytes(4, "big") + (104).to_bytes(8, "big")
        (kdbg.folder() / "images" / "layer.qcow2").write_bytes(header.ljust(104, b"\0") + b"/etc/shadow")
        self.assertIn("a backing file of its own", self.refused("layer.qcow2"))
