#!/usr/bin/env python3
"""What all system tests share, as CTest fixtures: fixtures.py start | kernel | initramfs | stop.

The daemon keeps its state in a folder below /var/tmp: guests and builds run under other uids and must get there,
which a clone in a home directory would not allow. With KDBG_SYSTEM_KEEP set, `stop` leaves that folder and the
next `start` goes on with it: for work on the tests themselves.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import kdbg

CONFIG = """
[server]
listen = ["unix:{folder}/kdbgd.sock"]
state_dir = "{folder}/state"
[build]
free_space_floor_mib = 512
[session]
first_port = 21000
last_port = 21099
warm_memory_mib = {warm_mib}
disk_images = "{folder}/images"
"""


def launch(folder, starter=(), **options):
    """The daemon on the state in `folder`, by a program that becomes it; returns when it answers."""
    with open(folder / "kdbgd.log", "ab") as log:
        daemon = subprocess.Popen(
            [*starter, kdbg.BIN / "kdbgd", "--config", folder / "kdbgd.toml"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **options)
    kdbg.RUN_FILE.write_text(json.dumps({"folder": str(folder), "pid": daemon.pid}))
    kdbg.folder.cache_clear()

    def answers():
        if daemon.poll() is not None:
            raise AssertionError(f"kdbgd ended:\n{(folder / 'kdbgd.log').read_text()}")
        return kdbg.ctl("info", expect=None).code == kdbg.Exit.DONE

    kdbg.eventually(answers)


def end(how=signal.SIGKILL):
    """The daemon is gone when this returns; its guests are not."""
    run = json.loads(kdbg.RUN_FILE.read_text())
    os.kill(run["pid"], how)
    kdbg.eventually(lambda: not alive(run["pid"]), timeout=60, interval=0.02)


def restart(how=signal.SIGKILL):
    end(how)
    launch(kdbg.folder())


def alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        # Its files stay locked until its last thread is gone, which may be after its first one.
        return state != "Z" or len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def start():
    if kdbg.RUN_FILE.exists():  # a run that was interrupted
        stop()
    if kdbg.RUN_FILE.exists():
        folder = kdbg.folder()
    else:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="kdbg-system-", dir="/var/tmp"))
        folder.chmod(0o711)
        (folder / "images").mkdir(mode=0o755)
        (folder / "kdbgd.toml").write_text(CONFIG.format(folder=folder, warm_mib=0))
    launch(folder)
    print(kdbg.ctl("info").text)
    print(f"kdbgd's log is {folder}/kdbgd.log")


def kernel():
    begin = time.monotonic()
    finished = kdbg.ctl("kernel", "build", kdbg.LINUX, "--config", "tiny", "--name", kdbg.KERNEL, timeout=3000)
    print(finished.text[-4000:])
    print(f"{time.monotonic() - begin:.1f} s")


def initramfs():
    kdbg.ctl("initramfs", "build", "--busybox", kdbg.BUSYBOX, "--name", kdbg.INITRAMFS, timeout=1200)


def stop():
    run = json.loads(kdbg.RUN_FILE.read_text())
    folder = pathlib.Path(run["folder"])
    if not folder.exists():
        kdbg.RUN_FILE.unlink()
        return
    alive = run["pid"] in kdbg.processes(f"{folder}/kdbgd.toml")
    left = []
    if alive:
        for name in kdbg.ctl("-o", "name", "session", "list", expect=None).stdout.split():
            kdbg.ctl("session", "rm", name, expect=None)
        guests = lambda: [pid for pid in kdbg.processes(str(folder)) if pid != run["pid"] and is_guest(pid)]
        kdbg.eventually(lambda: not guests(), timeout=30)
        os.kill(run["pid"], signal.SIGTERM)
        kdbg.eventually(lambda: run["pid"] not in kdbg.processes(str(folder)), timeout=60)
        # A daemon that ended by itself takes its runner and sandboxes along.
        left = kdbg.processes(str(folder))
    if os.environ.get("KDBG_SYSTEM_KEEP"):
        return
    for pid in kdbg.processes(str(folder)) + keepers(folder):
        os.kill(pid, signal.SIGKILL)
    subprocess.run(["rm", "-rf", folder], check=True)  # a kernel tree for each line of work: rmtree takes minutes
    kdbg.RUN_FILE.unlink()
    assert not left, f"kdbgd left processes behind: {left}"


def keepers(folder):
    """Process ids of those who hold the memory of templates; they outlive the daemon."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"KDBG_KEEPER={folder}/".encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            pass
    return found


def is_guest(pid):
    try:
        return b"qemu-system" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


if __name__ == "__main__":
    {"start": start, "kernel": kernel, "initramfs": initramfs, "stop": stop}[sys.argv[1]]()
