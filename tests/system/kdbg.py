"""A running kdbgd as the system tests see it: kdbgctl, gdb and the session's own port.

The daemon, one kernel and one initramfs are made by fixtures.py and shared by all tests.
"""

import contextlib
import functools
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import tempfile
import time

BIN = pathlib.Path(os.environ["KDBG_BIN"])
# Names the daemon's folder; outlives single tests.
RUN_FILE = pathlib.Path(os.environ["KDBG_SYSTEM_RUN"])
LINUX = os.environ.get("KDBG_TEST_LINUX", "/usr/src/linux-source-6.1.tar.xz")
BUSYBOX = os.environ.get("KDBG_TEST_BUSYBOX", "")

KERNEL = "system-kernel"
INITRAMFS = "system-initramfs"


class Exit:
    """kdbgctl's exit codes."""

    DONE, FAILED, USAGE, NOT_FOUND, PERMISSION, BUSY, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130


@functools.cache
def folder():
    return pathlib.Path(json.loads(RUN_FILE.read_text())["folder"])


def environment():
    here = folder()
    return os.environ | {
        "KDBG_SERVER": f"unix:{here}/kdbgd.sock",
        "XDG_CACHE_HOME": str(here / "client-cache"),
        "XDG_CONFIG_HOME": str(here / "client-config"),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
    }


class Finished:
    def __init__(self, arguments, result):
        self.arguments, self.code = arguments, result.returncode
        self.stdout, self.stderr = result.stdout, result.stderr
        self.text = result.stdout + result.stderr

    def json(self):
        return json.loads(self.stdout)

    def __str__(self):
        return f"{' '.join(map(str, self.arguments))}\n-> {self.code}\n{self.text}"


def run(*arguments, timeout=120, stdin=subprocess.DEVNULL, **options):
    arguments = [str(argument) for argument in arguments]
    result = subprocess.run(
        arguments, stdin=stdin, capture_output=True, text=True, errors="replace", timeout=timeout,
        env=environment(), check=False, **options)
    return Finished(arguments, result)


def ctl(*arguments, expect=Exit.DONE, timeout=120):
    """kdbgctl, which must end with the code expected; None: any."""
    finished = run(BIN / "kdbgctl", *arguments, timeout=timeout)
    if expect is not None and finished.code != expect:
        raise AssertionError(f"expected exit code {expect}: {finished}")
    return finished


def show(noun, name):
    return ctl("-o", "json", noun, "show", name).json()


def start(*arguments):
    """A program left running; end it in the test."""
    return subprocess.Popen(
        [str(argument) for argument in arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", env=environment())


def eventually(condition, timeout=60, interval=0.1):
    """The first true answer of `condition`. What it asks about has no other way to tell."""
    end = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not so after {timeout} s: last answer {answer!r}")
        time.sleep(interval)


def session(*arguments):
    """A session on the shared kernel and initramfs, as the JSON of the ready session; removed at the end."""
    return session_on("--kernel", KERNEL, "--initramfs", INITRAMFS, *arguments)


@contextlib.contextmanager
def session_on(*arguments):
    """The same on other builds."""
    made = ctl("-o", "json", "session", "create", *arguments).json()
    try:
        yield made
    finally:
        ctl("session", "rm", made["name"], expect=None)


def gdb(session_name, *commands, timeout=120):
    """kdbgctl gdb in batch mode; the output of the commands."""
    arguments = [part for command in commands for part in ("-ex", command)]
    return run(BIN / "kdbgctl", "gdb", session_name, "--", "-batch", *arguments, timeout=timeout)


def artifact_of(build):
    return show("build", build)["artifact"]


def artifact_file(build, path):
    """The file `path` of a build's artifact, as a local file."""
    target = folder() / "downloads" / build / path
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        ctl("artifact", "get", artifact_of(build), path, "--output", target)
    return target


def console(session_name):
    """What it has printed so far, from byte 0."""
    return ctl("console", session_name, "--read-only", "--no-follow", "--since", "0").stdout


def console_until(session_name, pattern, timeout=60):
    """The console from byte 0 until `pattern` shows up in it."""
    reader = start(BIN / "kdbgctl", "console", session_name, "--read-only", "--since", "0")
    output, seen, end = reader.stdout.fileno(), b"", time.monotonic() + timeout
    try:
        while not re.search(pattern.encode(), seen):
            ready, _, _ = select.select([output], [], [], max(0, end - time.monotonic()))
            more = os.read(output, 65536) if ready else b""
            if not more:
                raise AssertionError(f"no {pattern!r} on the console within {timeout} s:\n{seen.decode(errors='replace')}")
            seen += more
    finally:
        reader.send_signal(signal.SIGINT)
        reader.wait(timeout=10)
        reader.stdout.close()
    return seen.decode(errors="replace")


def processes(text):
    """Process ids whose command line mentions `text`."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if text.encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
    return [pid for pid in found if pid != os.getpid()]


def descendants(pid):
    """Process ids of everything that `pid` started, at any depth."""
    children = {}
    for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    found, unread = [], [pid]
    while unread:
        own = children.get(unread.pop(), [])
        found += own
        unread += own
    return found


def compilers():
    """Process ids of the compilers that this daemon's builds run now."""
    daemon = json.loads(RUN_FILE.read_text())["pid"]
    return sorted(set(descendants(daemon)) & set(processes("cc1")))


def connect(ready_session):
    """A bare TCP connection to the session's gdb port."""
    endpoint = ready_session["gdb"]
    return socket.create_connection((endpoint["host"], endpoint["port"]), timeout=10)


@contextlib.contextmanager
def scratch():
    with tempfile.TemporaryDirectory(prefix="kdbg-test-") as name:
        yield pathlib.Path(name)
