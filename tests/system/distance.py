"""A link with a delay in front of a socket, which counts what passes, and gdb at either end of it."""

import contextlib
import math
import os
import pathlib
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import kdbg

MARK = "-- attached --"
SSH_SERVER = pathlib.Path(__file__).resolve().parents[1] / "support/ssh_server.py"


class Link:
    """Relays connections to `target`, a TCP (host, port) or the path of a unix socket; every byte takes half of
    `round_trip` seconds each way, and each direction of a connection carries `rate` bytes per second."""

    def __init__(self, target, round_trip, rate=math.inf):
        self.target, self.one_way, self.rate = target, round_trip / 2, rate
        self.lock = threading.Lock()
        self.up = self.down = self.round_trips = 0
        self.last_was_up = False
        self.connections = []
        if isinstance(target, tuple):
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.address = "{}:{}".format(*self.listener.getsockname())
        else:
            self.folder = tempfile.TemporaryDirectory(prefix="kdbg-link-")
            self.address = str(pathlib.Path(self.folder.name, "far.sock"))
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(self.address)
            self.listener.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self.listener.accept()
                if isinstance(self.target, tuple):
                    far = socket.create_connection(self.target)
                    for end in (near, far):
                        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                else:
                    far = socket.socket(socket.AF_UNIX)
                    far.connect(str(self.target))
                self.connections += [near, far]
                self.pump(near, far, True)
                self.pump(far, near, False)

    def pump(self, source, sink, upward):
        due = queue.Queue()

        def read():
            sent = 0  # when the last byte has left
            with contextlib.suppress(OSError):
                while data := source.recv(1 << 16):
                    self.count(len(data), upward)
                    sent = max(sent, time.monotonic()) + len(data) / self.rate
                    due.put((sent + self.one_way, data))
            due.put((max(sent, time.monotonic()) + self.one_way, None))

        def write():
            with contextlib.suppress(OSError):
                while True:
                    when, data = due.get()
                    if when > time.monotonic():
                        time.sleep(max(0, when - time.monotonic()))
                    if data is None:
                        return sink.shutdown(socket.SHUT_WR)
                    sink.sendall(data)

        for work in (read, write):
            threading.Thread(target=work, daemon=True).start()

    def count(self, size, upward):
        """A round trip is counted when something goes up after something came down."""
        with self.lock:
            if upward:
                self.up += size
                self.round_trips += not self.last_was_up
            else:
                self.down += size
            self.last_was_up = upward

    def restart_counting(self):
        with self.lock:
            self.up = self.down = self.round_trips = 0
            self.last_was_up = False

    def close(self):
        self.listener.close()
        for connection in self.connections:
            connection.close()


@contextlib.contextmanager
def port(session, round_trip):
    """The session's own gdb port at that distance: the link, and what `target remote` takes."""
    link = Link((session["gdb"]["host"], session["gdb"]["port"]), round_trip)
    try:
        yield link, link.address
    finally:
        link.close()


@contextlib.contextmanager
def pipe(session, round_trip):
    """The daemon at that distance, and gdb through kdbgctl gdb-pipe."""
    link = Link(kdbg.folder() / "kdbgd.sock", round_trip)
    try:
        yield link, f"| {kdbg.BIN}/kdbgctl --server unix:{link.address} gdb-pipe {session['name']}"
    finally:
        link.close()


class FarHost:
    """This host by ssh as if it were at that distance, for the time of a `with`."""

    WRAPPER = """#!/bin/sh
# The far host knows no kdbgctl.
for word; do shift; [ "$word" = kdbgctl ] && word={kdbgctl}; set -- "$@" "$word"; done
exec {ssh} {options} "$@"
"""

    def __init__(self, round_trip, rate):
        self.round_trip, self.rate = round_trip, rate

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="kdbg-far-"))
        keys = self.folder / "ssh"
        self.sshd = subprocess.Popen([sys.executable, SSH_SERVER, keys], stdout=subprocess.PIPE, text=True)
        port = int(self.sshd.stdout.readline())
        self.link = Link(("127.0.0.1", port), self.round_trip, self.rate)
        self.port = self.link.address.split(":")[1]
        self.options = ["-F", str(keys / "config"), "-o", f"HostKeyAlias=[127.0.0.1]:{port}"]
        self.path = os.environ["PATH"]
        wrapper = self.folder / "bin/ssh"
        wrapper.parent.mkdir()
        wrapper.write_text(self.WRAPPER.format(kdbgctl=kdbg.BIN / "kdbgctl", ssh=shutil.which("ssh"),
                                               options=" ".join(self.options)))
        wrapper.chmod(0o755)
        os.environ["PATH"] = f"{wrapper.parent}:{self.path}"
        return self

    def __exit__(self, *_):
        os.environ["PATH"] = self.path
        self.link.close()
        self.sshd.kill()
        self.sshd.wait()
        shutil.rmtree(self.folder)

    def daemon(self):
        """What KDBG_SERVER is to be."""
        return f"ssh://127.0.0.1:{self.port}{kdbg.folder()}/kdbgd.sock"

    def copy(self, original, target):
        subprocess.run(["scp", "-O", "-C", *self.options, "-P", self.port, f"127.0.0.1:{original}", target],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def symbols(session):
    """vmlinux and the script that defines the lx- commands, as kdbgctl gdb fetches them. Lets the guest run."""
    shown = kdbg.gdb(session["name"], "info files")
    assert shown.code == kdbg.Exit.DONE, shown
    build_id = kdbg.show("artifact", session["kernelArtifact"])["buildId"]
    cache = kdbg.folder() / "client-cache/kdbg/symbols" / build_id
    return kdbg.artifact_file(kdbg.KERNEL, "vmlinux"), next(cache.rglob("vmlinux-gdb.py"))


def gdb(files, target, *commands, timeout=900):
    """Plain gdb on a target, without sources: what it prints."""
    vmlinux, script = files
    quiet = ["set confirm off", "set pagination off", "set width 0", "set debuginfod enabled off"]
    lines = [*quiet, f"source {script}", f"target remote {target}", f"echo {MARK}", *commands]
    arguments = [part for line in lines for part in ("-ex", line)]
    return kdbg.run("gdb", "-nx", "-batch", "-iex", f"set auto-load safe-path {script.parent}",
                    vmlinux, *arguments, timeout=timeout)


def after_attaching(shown):
    """What the commands printed, without where the guest was found."""
    assert MARK in shown.stdout, shown
    return shown.text.split(MARK, 1)[1]
