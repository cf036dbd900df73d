"""Directories as sources: what travels, and what a second build of an edited one costs."""

import hashlib
import re
import subprocess
import time
import unittest

import kdbg
from kdbg import Exit

UNITS = {"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9}


def git(folder, *arguments):
    return subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "core.bigFileThreshold=1", *arguments],
        cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def work_tree(folder):
    """The kernel's tarball as a git work tree with one commit."""
    folder.mkdir()
    subprocess.run(["tar", "xf", kdbg.LINUX, "-C", folder, "--strip-components=1"], check=True)
    git(folder, "init", "-q")
    git(folder, "add", "-A", "-f")
    git(folder, "commit", "-q", "-m", "base")
    return folder


def sent(finished):
    """Bytes and objects that kdbgctl said it sends; nothing when it sent nothing."""
    said = re.search(r"sending ([\d.]+) (\w+) in (\d+) object", finished.stderr)
    return (float(said.group(1)) * UNITS[said.group(2)], int(said.group(3))) if said else (0, 0)


def compiled(build):
    return re.findall(r"^  CC\s+(\S+)$", kdbg.ctl("build", "log", build).stdout, re.MULTILINE)


class WorkTree(unittest.TestCase):
    def test_an_edit_sends_few_bytes_compiles_one_object_and_touches_nothing(self):
        with kdbg.scratch() as here:
            tree = work_tree(here / "linux")
            # The server has these very files from the tarball: nothing travels.
            known = kdbg.ctl("-o", "name", "kernel", "build", tree, "--config", "tiny", timeout=250)
            self.assertEqual(sent(known), (0, 0))
            self.assertTrue(kdbg.show("build", known.stdout.strip())["answeredFromStore"])

            main, index = tree / "init/main.c", tree / ".git/index"
            main.write_text(main.read_text() + "\n/* an edit */\n")
            before = hashlib.sha256(index.read_bytes()).digest(), index.stat().st_mtime_ns
            first = kdbg.ctl("-o", "name", "kernel", "build", tree, "--config", "tiny", timeout=280)
            size, objects = sent(first)
            self.assertTrue(0 < size < 100 * 1024, first)
            self.assertLess(objects, 10)
            self.assertEqual(before, (hashlib.sha256(index.read_bytes()).digest(), index.stat().st_mtime_ns))
            self.assertEqual(git(tree, "status", "--short"), "M init/main.c")

            main.write_text(main.read_text() + "\n/* another */\n")
            (tree / "init/unused.c").write_text("/* nobody compiles it */\n")
            git(tree, "add", "-f", "init/unused.c")  # the tarball's .gitignore would leave it out
            edited = main.read_text()
            second = kdbg.ctl("-o", "name", "kernel", "build", tree, "--config", "tiny", timeout=120)
            size, objects = sent(second)
            self.assertTrue(0 < size < 100 * 1024, second)
            self.assertEqual(objects, 4, second)  # two folders, two files
            objects = compiled(second.stdout.strip())
            self.assertIn("init/main.o", objects)
            self.assertLess(len(objects), 6, objects)
            self.assertEqual(kdbg.show("build", first.stdout.strip())["workspace"],
                             kdbg.show("build", second.stdout.strip())["workspace"])

            patch = here / "hello.patch"
            main.write_text(main.read_text().replace('"%s", linux_banner);', '"patched: %s", linux_banner);'))
            patch.write_text(git(tree, "diff", "--text", "--", "init/main.c") + "\n")
            main.write_text(git(tree, "show", "HEAD:init/main.c") + "\n")
            patched = kdbg.ctl("-o", "name", "kernel", "build", tree, "--config", "tiny", "--patch", patch, timeout=120)
            objects = compiled(patched.stdout.strip())
            self.assertIn("init/main.o", objects)
            self.assertLess(len(objects), 6, objects)
            with kdbg.session_on("--kernel", patched.stdout.strip(), "--initramfs", kdbg.INITRAMFS,
                                 "--stop-at", "none") as session:
                kdbg.console_until(session["name"], "patched: Linux version 6.1")
            patch.write_text(patch.read_text().replace(" linux_banner", " no_banner"))
            refused = kdbg.ctl("kernel", "build", tree, "--config", "tiny", "--patch", patch, expect=Exit.USAGE)
            self.assertIn("hello.patch: its hunk \"@@ -", refused.text)

            main.write_text(edited)
            begin = time.monotonic()
            again = kdbg.ctl("-o", "name", "kernel", "build", tree, "--config", "tiny")
            self.assertLess(time.monotonic() - begin, 5)
            self.assertEqual(sent(again), (0, 0))


class PlainDirectory(unittest.TestCase):
    def test_what_is_no_kernel_is_not_sent(self):
        with kdbg.scratch() as here:
            (here / "hello.c").write_text("int main(void) { return 0; }\n")
            refused = kdbg.ctl("kernel", "build", here, expect=Exit.FAILED)
            self.assertIn("not the top of a Linux source", refused.text)
            self.assertEqual(sent(refused), (0, 0))


if __name__ == "__main__":
    unittest.main()
