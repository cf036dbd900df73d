"""Who profits from whose builds: nobody from a stranger's, everybody from the service's own of a trusted source."""

import io
import os
import shutil
import subprocess
import tarfile
import unittest

import kdbg
from kdbg import INITRAMFS

# Runs when make reads the makefile: overwrites and plants whatever it can reach.
EVIL = """
$(shell find /ccache-trusted /ccache /src /build -type f ! -path '/build/.kdbg/*' 2>/dev/null | while read -r f; do \\
  case $$f in (*.cmd) touch $$f ;; (*) echo evil > $$f ;; esac; done; \\
  for d in /ccache-trusted /ccache-trusted/0/0 /ccache /ccache/0/0 /src /build/init /build/libbb /tmp /var/tmp; do \\
  mkdir -p $$d; for f in planted planted.o .planted.o.cmd; do echo evil > $$d/$$f; done; done 2>/dev/null)
"""


def poisoned(tarball, target):
    with tarfile.open(tarball) as good, tarfile.open(target, "w") as bad:
        for member in good:
            content = good.extractfile(member).read() if member.isreg() else None
            if member.name.count("/") == 1 and member.name.endswith("/Makefile"):
                content += EVIL.encode()
                member.size = len(content)
            bad.addfile(member, io.BytesIO(content) if content is not None else None)


class User:
    """kdbgctl as an account of its own."""

    def __init__(self, uid, scratch):
        self.uid, self.home = uid, scratch / str(uid)
        self.home.mkdir()
        os.chown(self.home, uid, uid)

    def ctl(self, *arguments, expect=0):
        finished = subprocess.run(
            [self.home.parent / "kdbgctl", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False, timeout=280, user=self.uid, group=self.uid, extra_groups=[],
            env=kdbg.environment() | {"XDG_CACHE_HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home)})
        if expect is not None and finished.returncode != expect:
            raise AssertionError(f"{arguments} -> {finished.returncode}\n{finished.stdout}{finished.stderr}")
        return finished.stdout


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def digest(build):
    artifact = kdbg.show("artifact", kdbg.artifact_of(build))
    return {file["path"]: file["sha256"] for file in artifact["files"]}["initramfs.cpio"]


@unittest.skipUnless(os.geteuid() == 0, "needs to be two users")
class Trust(unittest.TestCase):
    def test_another_owner_gets_clean_bytes_whatever_a_build_planted(self):
        source = kdbg.show("build", INITRAMFS)["source"]
        trusted = kdbg.ctl("-o", "json", "source", "trust", source).json()
        self.assertEqual(trusted["owner"], "kdbgd:trusted")
        ours = lambda: [build for build in kdbg.ctl("-o", "json", "build", "list", "--all").json()["builds"]
                        if build["owner"] == "kdbgd:trusted" and build["source"] == trusted["name"]]
        kdbg.eventually(lambda: ours() and ours()[0]["state"] == "SUCCEEDED", timeout=250)
        cache = kdbg.folder() / "state/workspaces/ccache/trusted"
        before = content(cache)
        self.assertGreater(len(before), 100)

        with kdbg.scratch() as scratch:
            scratch.chmod(0o755)
            shutil.copy(kdbg.BIN / "kdbgctl", scratch)
            shutil.copy(kdbg.BUSYBOX, scratch / "good.tar")
            poisoned(kdbg.BUSYBOX, scratch / "evil.tar")
            mallory, bob, carol = (User(uid, scratch) for uid in (61001, 61002, 61003))
            # Into her own workspace, which starts from a seed; then the clean tree in the same place.
            mallory.ctl("initramfs", "build", "--busybox", scratch / "evil.tar", "--name", "m", expect=None)
            self.assertTrue(list((kdbg.folder() / "state/workspaces").glob("*/build/libbb/planted.o")), "no attack took place")
            log = mallory.ctl("build", "log", "m")
            self.assertIn("starts from the objects of a trusted build", log)
            mallory.ctl("initramfs", "build", "--busybox", scratch / "good.tar", "--name", "m", "--no-cache",
                        expect=None)
            bob.ctl("initramfs", "build", "--busybox", scratch / "good.tar", "--name", "b", "--no-cache")
            build = bob.ctl("-o", "name", "build", "list").split()[0]
            self.assertIn("starts from the objects of a trusted build", bob.ctl("build", "log", build))
            self.assertEqual(digest(build), digest(INITRAMFS))
            self.assertTrue(content(cache) == before)
            # And what was made for all answers who has made nothing at once.
            carol.ctl("initramfs", "build", "--busybox", scratch / "good.tar")
            answered = kdbg.show("build", carol.ctl("-o", "name", "build", "list").split()[0])
            self.assertTrue(answered["answeredFromStore"])
            self.assertEqual(answered["artifact"], ours()[0]["artifact"])
