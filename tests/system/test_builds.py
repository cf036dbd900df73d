"""What a build leaves, and what a second one costs."""

import re
import subprocess
import time
import unittest

import kdbg
from kdbg import Exit, KERNEL


class KernelBuild(unittest.TestCase):
    def test_publishes_every_file(self):
        artifact = kdbg.show("artifact", kdbg.artifact_of(KERNEL))
        paths = {file["path"] for file in artifact["files"]}
        wanted = {"bzImage", "vmlinux", "System.map", "config", "build.log", "vmlinux-gdb.py",
                  "scripts/gdb/linux/constants.py", "compile_commands.json", "metadata.json"}
        self.assertEqual(wanted - paths, set())

    def test_vmlinux_has_the_lines_of_start_kernel(self):
        vmlinux = kdbg.artifact_file(KERNEL, "vmlinux")
        line = subprocess.run(["gdb", "-nx", "-batch", "-ex", "info line start_kernel", vmlinux],
                              capture_output=True, text=True, check=True).stdout
        self.assertRegex(line, r'Line \d+ of "\S*init/main\.c"')

    def test_gdb_finds_an_index_soon_after_the_build(self):
        artifact = kdbg.artifact_of(KERNEL)
        index = kdbg.eventually(lambda: next(
            (file for file in kdbg.ctl("-o", "json", "artifact", "show", artifact).json()["files"]
             if file["path"] == "vmlinux.gdb-index"), None))
        self.assertGreater(int(index["sizeBytes"]), 0)

    def test_artifact_carries_the_build_id_of_vmlinux(self):
        vmlinux = kdbg.artifact_file(KERNEL, "vmlinux")
        notes = subprocess.run(["readelf", "-n", vmlinux], capture_output=True, text=True, check=True).stdout
        build_id = re.search(r"Build ID: (\w+)", notes).group(1)
        self.assertIn(build_id, kdbg.ctl("-o", "json", "artifact", "show", kdbg.artifact_of(KERNEL)).stdout)

    def test_config_has_what_debugging_needs(self):
        config = kdbg.artifact_file(KERNEL, "config").read_text().splitlines()
        for line in ("CONFIG_DEBUG_INFO=y", "CONFIG_GDB_SCRIPTS=y", "CONFIG_KALLSYMS=y", "CONFIG_FRAME_POINTER=y"):
            self.assertIn(line, config)
        for name in ("CONFIG_DEBUG_INFO_REDUCED", "CONFIG_DEBUG_INFO_SPLIT", "CONFIG_RANDOMIZE_BASE"):
            self.assertNotIn(f"{name}=y", config)

    def test_metadata_says_how_to_make_it_by_hand(self):
        self.assertIn("make", kdbg.artifact_file(KERNEL, "metadata.json").read_text())

    def test_log_can_be_read_afterwards(self):
        self.assertIn("init/main.o", kdbg.ctl("build", "log", KERNEL).stdout)

    def test_the_same_request_is_answered_from_the_store(self):
        answered = set()
        for name in ("once", "once-more"):
            begin = time.monotonic()
            kdbg.ctl("kernel", "build", kdbg.LINUX, "--config", "tiny", "--name", name)
            self.assertLess(time.monotonic() - begin, 10)
            build = kdbg.show("build", name)
            self.assertTrue(build["answeredFromStore"])
            answered.add(build["artifact"])
        self.assertEqual(len(answered), 1)

    def test_a_detached_build_is_cancelled_within_two_seconds(self):
        build = kdbg.ctl("-o", "name", "kernel", "build", kdbg.LINUX, "--config", "tiny", "--set", "CONFIG_NET=y",
                         "--name", "to-cancel", "--detach").stdout.strip()
        kdbg.eventually(kdbg.compilers, timeout=200)
        begin = time.monotonic()
        kdbg.ctl("build", "cancel", build)
        self.assertLess(time.monotonic() - begin, 3)  # the two seconds, and kdbgctl's own start and end
        self.assertEqual(kdbg.show("build", build)["state"], "CANCELLED")
        self.assertEqual(kdbg.compilers(), [])

    def test_a_kernel_that_does_not_compile_is_shown_with_its_place(self):
        # A macro that takes the name away from a variable of init/main.c.
        finished = kdbg.ctl("kernel", "build", kdbg.LINUX, "--config", "tiny", "--name", "broken",
                            "--make", "KCFLAGS=-Dramdisk_execute_command=", expect=Exit.FAILED, timeout=900)
        self.assertRegex(finished.text, r"init/main\.c:\d+: ")
        self.assertIn("static char *ramdisk_execute_command =", finished.text)  # among the lines around it
        failure = kdbg.show("build", "broken")["failure"]
        self.assertEqual((failure["fault"], failure["reason"]), ("FAULT_SUBJECT", "COMPILE_ERROR"))
        self.assertEqual(failure["file"], "init/main.c")
        self.assertGreater(failure["line"], 0)


class Initramfs(unittest.TestCase):
    def test_built_twice_is_bit_identical(self):
        kdbg.ctl("initramfs", "build", "--busybox", kdbg.BUSYBOX, "--name", "again", "--clean", "--no-cache",
                 timeout=280)
        first = kdbg.artifact_file(kdbg.INITRAMFS, "initramfs.cpio").read_bytes()
        second = kdbg.artifact_file("again", "initramfs.cpio").read_bytes()
        self.assertTrue(first == second)

    def test_belongs_to_root_and_has_its_device_nodes(self):
        archive = kdbg.artifact_file(kdbg.INITRAMFS, "initramfs.cpio")
        with open(archive, "rb") as file:
            listing = subprocess.run(["cpio", "-tvn"], stdin=file, capture_output=True, text=True, check=True).stdout
        # Mode, links, owner, group, size or device, date, name.
        members = {line.split()[-1]: line for line in listing.splitlines() if "->" not in line}
        self.assertRegex(members["dev/console"], r"^crw\S+ +\d+ +0 +0 +5, +1 ")
        self.assertRegex(members["dev/null"], r"^crw-rw-rw- +\d+ +0 +0 +1, +3 ")
        self.assertRegex(members["init"], r"^-rwxr-xr-x ")
        for line in listing.splitlines():
            self.assertRegex(line, r"^\S+ +\d+ +0 +0 ")
