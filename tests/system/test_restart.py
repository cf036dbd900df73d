"""The daemon goes, by request or by kill -9, and comes back: guests, ports and books are as before."""

import contextlib
import json
import os
import random
import re
import select
import signal
import socket
import time
import unittest

import fixtures
import kdbg
from kdbg import Exit


def listed(*arguments):
    return kdbg.ctl("-o", "json", "session", "list", *arguments).json().get("sessions", [])


def guests():
    return [pid for pid in kdbg.processes(str(kdbg.folder())) if fixtures.is_guest(pid)]


class Restart(unittest.TestCase):
    def test_a_halted_guest_is_where_it_was(self):
        with kdbg.session() as session:
            before = guests()
            fixtures.restart()
            shown = kdbg.gdb(session["name"], "backtrace")
            self.assertRegex(shown.stdout, r"#0\s+(0x[0-9a-f]+ in )?start_kernel \(\)")
            after = kdbg.show("session", session["name"])
            self.assertEqual(guests(), before)
        for same in ("gdb", "expireTime", "stoppedAt"):
            self.assertEqual(after[same], session[same])

    def test_a_hangup_reads_the_configuration_again_and_a_wrong_one_changes_nothing(self):
        file, log = kdbg.folder() / "kdbgd.toml", kdbg.folder() / "kdbgd.log"
        before, seen = file.read_text(), log.stat().st_size

        def reload(text, expected):
            file.write_text(text)
            os.kill(json.loads(kdbg.RUN_FILE.read_text())["pid"], signal.SIGHUP)
            kdbg.eventually(lambda: expected in log.read_text()[seen:])

        try:
            reload(before + "\n[access]\nadmins = 3\n", "not reloaded: ")
            reload(before + '\n[access]\nviewers = ["nobody"]\n', "roles, certificates")
        finally:
            file.write_text(before)
        self.assertEqual(kdbg.ctl("info").code, Exit.DONE)

    def test_a_stop_on_request_leaves_the_guest_at_its_breakpoint(self):
        with kdbg.session() as session, kdbg.connect(session) as client:
            client.sendall(b"+$qSupported#37")
            self.assertTrue(client.recv(1))
            kdbg.eventually(lambda: kdbg.show("session", session["name"])["gdb"].get("holder"))
            begin = time.monotonic()
            fixtures.end(signal.SIGTERM)
            self.assertLess(time.monotonic() - begin, 5)
            fixtures.launch(kdbg.folder())
            self.assertEqual(kdbg.show("session", session["name"])["runState"], "HALTED")

    def test_a_running_guest_runs_on_and_keeps_its_console(self):
        with kdbg.session("--stop-at", "none") as session:
            fixtures.restart()
            self.assertIn("Linux version 6.1", kdbg.console_until(session["name"], "Boot took"))
            self.assertEqual(kdbg.show("session", session["name"])["runState"], "RUNNING")

    def test_breakpoints_of_a_gdb_that_was_cut_off_are_gone(self):
        with kdbg.session() as session:
            endpoint = "{host}:{port}".format(**session["gdb"])
            gdb = kdbg.start("gdb", "-nx", "-batch", "-ex", f"target remote {endpoint}",
                             "-ex", "break kernel_init", "-ex", "continue", "-ex", "echo hit\\n", "-ex", "shell sleep 600",
                             kdbg.artifact_file(kdbg.KERNEL, "vmlinux"))
            try:
                while "hit" not in (line := gdb.stdout.readline()):
                    self.assertTrue(line, "gdb ended")
                fixtures.restart()
            finally:
                gdb.kill()
                gdb.wait()
                gdb.stdout.close()
            self.assertEqual(kdbg.gdb(session["name"], "break run_init_process", "continue", "bt").code, Exit.DONE)
            kdbg.console_until(session["name"], "Boot took")

    def test_a_session_whose_machine_was_killed_meanwhile_says_so(self):
        with kdbg.session() as session:
            identity = session["name"].split("/")[-1]
            fixtures.end()
            for pid in kdbg.processes(f"kdbg-{identity}"):
                fixtures.os.kill(pid, signal.SIGKILL)
            fixtures.launch(kdbg.folder())
            ended = lambda: kdbg.show("session", session["name"])["state"] == "ENDED"
            kdbg.eventually(ended, timeout=20)
            self.assertEqual(kdbg.show("session", session["name"])["endReason"], "VM_LOST")

    def test_killed_at_any_time_of_create_and_rm_it_leaks_nothing(self):
        dice = random.Random(19)
        for _ in range(10):
            creating = kdbg.start(kdbg.BIN / "kdbgctl", "session", "create", "--no-wait",
                                  "--kernel", kdbg.KERNEL, "--initramfs", kdbg.INITRAMFS)
            time.sleep(dice.uniform(0, 0.8))  # the moment of death, not a wait for something
            fixtures.restart()
            creating.communicate(timeout=60)
            names = [session["name"] for session in listed()]
            for name in names:
                kdbg.eventually(lambda: kdbg.show("session", name)["state"] in ("READY", "ENDED"))
            self.assertEqual(len(guests()), len(listed()))
            removing = [kdbg.start(kdbg.BIN / "kdbgctl", "session", "rm", name) for name in names]
            time.sleep(dice.uniform(0, 0.3))
            fixtures.restart()
            for each in removing:
                each.communicate(timeout=60)
            for session in listed():
                kdbg.ctl("session", "rm", session["name"])
            kdbg.eventually(lambda: not listed() and not guests())
            self.assertEqual(list((kdbg.folder() / "state" / "guests").iterdir()), [])
        self.assertEqual(kdbg.show("artifact", kdbg.artifact_of(kdbg.KERNEL)).get("pins", []), [])


class Manager:
    """systemd reduced to its file descriptor store."""

    def __init__(self, folder):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.address = str(folder / "notify")
        self.socket.bind(self.address)
        self.socket.setblocking(False)
        self.descriptors = {}

    def held(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                text, descriptors, _, _ = socket.recv_fds(self.socket, 4096, 4)
                words = dict(line.split("=", 1) for line in text.decode().splitlines())
                if "FDSTORE" in words:
                    self.let_go(words["FDNAME"])
                    self.descriptors[words["FDNAME"]], = descriptors
                elif "FDSTOREREMOVE" in words:
                    self.let_go(words["FDNAME"])
        return self.descriptors

    def let_go(self, name):
        if name in self.descriptors:
            os.close(self.descriptors.pop(name))

    def launch(self):
        names, descriptors = list(self.held()), list(self.held().values())
        moves = "".join(f"exec {3 + index}<&{fd}; " for index, fd in enumerate(descriptors))
        fixtures.launch(
            kdbg.folder(), ["bash", "-c", moves + 'LISTEN_PID=$$ exec "$@"', "starter"], pass_fds=descriptors,
            env=os.environ | {"NOTIFY_SOCKET": self.address, "LISTEN_FDS": str(len(names)),
                              "LISTEN_FDNAMES": ":".join(names)})

    def close(self):
        for name in list(self.held()):
            self.let_go(name)
        self.socket.close()


class ServiceManager(unittest.TestCase):
    def test_who_connects_to_a_gdb_port_while_no_daemon_runs_waits_for_the_next_one(self):
        fixtures.end(signal.SIGTERM)
        with kdbg.scratch() as scratch, contextlib.closing(Manager(scratch)) as manager:
            try:
                manager.launch()
                with kdbg.session() as session:
                    fixtures.end()
                    self.assertEqual(list(manager.held()), [f"gdb-{session['gdb']['port']}"])
                    with kdbg.connect(session) as early:
                        early.sendall(b"+$?#3f")
                        manager.launch()
                        early.settimeout(20)
                        answer = b""
                        while not re.search(rb"\$T05.*#", answer):
                            answer += early.recv(4096) or self.fail(f"hung up after {answer}")
                kdbg.eventually(lambda: not manager.held())
            finally:
                fixtures.restart(signal.SIGTERM)


class BuildAcrossRestart(unittest.TestCase):
    def test_a_build_goes_on_from_its_objects_in_one_log(self):
        kdbg.ctl("kernel", "build", kdbg.LINUX, "--config", "tiny", "--name", "goes-on", "--no-cache", "--clean", "--detach")
        compiled = lambda text: re.findall(r"^  (?:CC|AS) +(\S+)", text, re.MULTILINE)
        log = lambda: kdbg.ctl("build", "log", "goes-on").stdout
        kdbg.eventually(lambda: len(compiled(log())) > 700, timeout=250)
        follower = kdbg.start(kdbg.BIN / "kdbgctl", "build", "log", "-f", "goes-on")
        self.assertTrue(select.select([follower.stdout], [], [], 60)[0])  # it follows
        before = log()
        fixtures.restart()
        followed = follower.communicate(timeout=280)[0]
        self.assertEqual(follower.returncode, 0, followed[-1000:])
        self.assertEqual(kdbg.show("build", "goes-on")["state"], "SUCCEEDED")
        # One story: the log was only added to, and what was compiled before the end was not compiled again but
        # for the last seconds of it, which are many objects where the compile cache is warm.
        whole = log()
        self.assertTrue(whole.startswith(before))
        self.assertIn("goes on from its objects", whole)
        first, again = whole.split("goes on from its objects", 1)
        twice = set(compiled(first)) & set(compiled(again))
        self.assertLess(len(twice), 0.6 * len(compiled(first)), sorted(twice)[:20])
        self.assertGreater(len(compiled(again)), 100)
        self.assertTrue(followed == whole)
        # And nothing half written was linked.
        digest = lambda build: {file["path"]: file["sha256"] for file in
                                kdbg.show("artifact", kdbg.artifact_of(build))["files"]}["vmlinux"]
        self.assertEqual(digest("goes-on"), digest(kdbg.KERNEL))
