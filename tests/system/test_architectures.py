"""Kernels of other architectures, by Debian's cross compilers and emulators; small ones, to be quick."""

import unittest

import kdbg

SMALL = ("PRINTK", "TTY", "BLK_DEV_INITRD", "BINFMT_ELF", "BINFMT_SCRIPT", "PROC_FS")


def build(test, architecture, *symbols, modules=()):
    """The name of the build, which is forgotten at the end: it must not be what others get by default."""
    name = f"small-{architecture}"
    test.addCleanup(kdbg.ctl, "build", "rm", name)
    items = [part for symbol in SMALL + symbols for part in ("--set", f"CONFIG_{symbol}=y")]
    items += [part for symbol in modules for part in ("--set", f"CONFIG_{symbol}=m")]
    kdbg.ctl("kernel", "build", kdbg.LINUX, "--config", "allnoconfig", "--arch", architecture, "--name", name, *items,
             timeout=1400)
    return name


INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mdev -s
echo "the disk says: $(head -c 9 /dev/vda)"
printf 'otherwise' | dd of=/dev/vda conv=notrunc 2> /dev/null
sync
echo "and then: $(head -c 9 /dev/vda)"
modprobe crc7 && cat /etc/greeting
while :; do sleep 1000; done
"""


class Arm64(unittest.TestCase):
    def test_stops_at_start_kernel_and_reaches_its_shell_and_modules(self):
        kernel = build(self, "arm64", "SERIAL_AMBA_PL011", "SERIAL_AMBA_PL011_CONSOLE", "SYSFS", "MODULES", "RD_ZSTD",
                       "PCI", "PCI_HOST_GENERIC", "VIRTIO_MENU", "VIRTIO_PCI", "BLOCK", "BLK_DEV", "VIRTIO_BLK",
                       modules=("CRC7",))
        self.addCleanup(kdbg.ctl, "build", "rm", "small")
        with self.subTest("breakpoint and shell"):
            self.initramfs()
            # The newest initramfs is the one for arm64; it is found without its name.
            with kdbg.session_on("--kernel", kernel) as session:
                shown = kdbg.gdb(session["name"], "show architecture", "backtrace 1", "list", "break kernel_init",
                                 "continue", "info registers x0", "detach")
                kdbg.console_until(session["name"], "Boot took")
            self.assertIn("aarch64", shown.stdout)
            self.assertRegex(shown.stdout, r"#0\s+start_kernel \(\) at \S*init/main\.c:\d+")
            self.assertRegex(shown.stdout, r"\d+\s.*void\s.*start_kernel\(void\)")
            self.assertRegex(shown.stdout, r"Breakpoint 1, kernel_init \(.*\) at \S*init/main\.c:\d+")
        with self.subTest("modules, an overlay, an init of one's own and a disk"), kdbg.scratch() as scratch:
            image = kdbg.folder() / "images" / "test.img"
            image.write_bytes(b"as it was".ljust(1 << 20, b"\0"))
            (scratch / "init").write_text(INIT)
            (scratch / "overlay" / "etc").mkdir(parents=True)
            (scratch / "overlay" / "etc" / "greeting").write_text("hello from the overlay\n")
            self.addCleanup(kdbg.ctl, "build", "rm", "small")
            self.initramfs("--modules", kernel, "--overlay", scratch / "overlay", "--init", scratch / "init")
            with kdbg.session_on("--kernel", kernel, "--stop-at", "none", "--disk", image.name) as session:
                kdbg.console_until(session["name"], "hello from the overlay")
                # What is written is gone with a reset.
                kdbg.ctl("session", "reset", session["name"])
                console = kdbg.console_until(session["name"], r"(?s)(hello from the overlay.*){2}")
                self.assertEqual(console.count("the disk says: as it was"), 2, console)
                self.assertEqual(console.count("and then: otherwise"), 2, console)
                shown = kdbg.gdb(session["name"], "lx-symbols", "info line crc7_be", "lx-lsmod")
            self.assertRegex(shown.stdout, r'Line \d+ of "\S*lib/crc7\.c" starts at address')
            self.assertEqual(image.read_bytes(), b"as it was".ljust(1 << 20, b"\0"))
            [module] = [file for file in kdbg.show("artifact", kdbg.artifact_of(kernel))["files"]
                        if file["path"].endswith("/crc7.ko")]
            notes = kdbg.run("readelf", "-n", kdbg.artifact_file(kernel, module["path"])).stdout
            self.assertIn(f"Build ID: {module['buildId']}", notes)
            files = {file["path"] for file in kdbg.show("artifact", kdbg.artifact_of("small"))["files"]}
            self.assertIn("initramfs.cpio.zst", files)  # what this kernel unpacks best

    def initramfs(self, *arguments):
        kdbg.ctl("initramfs", "build", "--busybox", kdbg.BUSYBOX, "--arch", "arm64", "--name", "small", *arguments,
                 timeout=600)


class Riscv64(unittest.TestCase):
    def test_stops_at_start_kernel(self):
        kernel = build(self, "riscv64", "SERIAL_8250", "SERIAL_8250_CONSOLE", "SERIAL_OF_PLATFORM", "SOC_VIRT", "FPU")
        with kdbg.session_on("--kernel", kernel, "--initramfs", "none") as session:
            shown = kdbg.gdb(session["name"], "show architecture", "backtrace 1", "list", "break kernel_init",
                             "continue", "detach")
            kdbg.console_until(session["name"], "Linux version 6")
        self.assertIn("riscv:rv64", shown.stdout)
        self.assertRegex(shown.stdout, r"#0\s+start_kernel \(\) at \S*init/main\.c:\d+")
        self.assertRegex(shown.stdout, r"\d+\s.*void\s.*start_kernel\(void\)")
        self.assertRegex(shown.stdout, r"Breakpoint 1, kernel_init \(.*\) at \S*init/main\.c:\d+")
