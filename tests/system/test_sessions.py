"""Sessions as a developer meets them: gdb's own words are what is asserted."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import unittest

import fixtures
import kdbg
from kdbg import Exit

START_KERNEL = r"#0\s+(0x[0-9a-f]+ in )?start_kernel \(\) at \S*init/main\.c:\d+"


class Gdb(unittest.TestCase):
    def test_stops_at_start_kernel_with_its_source(self):
        with kdbg.session() as session:
            shown = kdbg.gdb(session["name"], "backtrace", "list")
        self.assertEqual(shown.code, Exit.DONE, shown)
        self.assertRegex(shown.stdout, START_KERNEL)
        self.assertRegex(shown.stdout, r"\d+\s.*void\s.*start_kernel\(void\)")

    def test_runs_lx_version_at_kernel_init(self):
        with kdbg.session() as session:
            shown = kdbg.gdb(session["name"], "break kernel_init", "continue", "lx-version")
        self.assertRegex(shown.stdout, r"Breakpoint 1, kernel_init \(.*\) at \S*init/main\.c:\d+")
        self.assertRegex(shown.stdout, r"Linux version 6\.1\.")

    def test_continues_to_another_breakpoint(self):
        with kdbg.session("--stop-at", "kernel_init") as session:
            shown = kdbg.gdb(session["name"], "backtrace", "break run_init_process", "continue", "backtrace 2")
        self.assertRegex(shown.stdout, r"#0\s+.*kernel_init \(.*\) at \S*init/main\.c:\d+")
        self.assertRegex(shown.stdout, r"#0\s+.*run_init_process \(init_filename=.*\"/init\"")
        self.assertRegex(shown.stdout, r"#1\s+.*kernel_init")

    def test_monitor_commands_never_reach_the_emulator(self):
        with kdbg.session() as session, kdbg.scratch() as scratch:
            scratch.chmod(0o777)
            proof = scratch / "proof"
            shown = kdbg.gdb(session["name"], "monitor info version", f'monitor migrate "exec:id > {proof}"', "bt")
            self.assertFalse(proof.exists())
            told = kdbg.gdb(session["name"], "monitor info", "monitor console 3").text
            self.assertIn(session["name"].split("/")[-1], told)
            self.assertRegex(told, r"lease +\S+ left")
        self.assertNotRegex(shown.text, r"(?m)^\d+\.\d+\.\d+")  # how QEMU answers `info version`
        self.assertRegex(shown.stdout, START_KERNEL)

    def test_monitor_reset_boots_anew_while_gdb_and_its_breakpoints_stay(self):
        with kdbg.session("--stop-at", "reset") as session:
            shown = kdbg.gdb(session["name"], "break start_kernel", "continue", "echo [once]\\n", "monitor reset",
                             "info registers rip", "continue", "backtrace")
            self.assertEqual(kdbg.show("session", session["name"])["state"], "READY")
        once, _, again = shown.stdout.partition("[once]")
        hit = r"Breakpoint 1, start_kernel \(\) at \S*init/main\.c:\d+"
        self.assertRegex(once, hit, shown)
        self.assertRegex(shown.text, "booted anew: it stands at reset")
        self.assertRegex(again, r"rip +0xfff0 ")
        self.assertRegex(again, hit, shown)
        self.assertRegex(again, START_KERNEL)

    def test_monitor_reset_goes_back_to_the_stop_point_from_far_on(self):
        with kdbg.session() as session:
            target = f"target remote | {kdbg.BIN}/kdbgctl gdb-pipe {session['name']}"
            vmlinux = kdbg.artifact_file(kdbg.KERNEL, "vmlinux")
            commands = [target, "set breakpoint always-inserted on", "break kernel_init", "continue", "backtrace 1",
                        "monitor reset", "maintenance flush dcache", "maintenance flush register-cache", "backtrace", "continue", "backtrace 1",
                        "monitor pause", "detach"]
            shown = kdbg.run("gdb", "-batch", "-nx", vmlinux, *(part for one in commands for part in ("-ex", one)))
            hits = re.findall(r"Breakpoint 1, kernel_init", shown.stdout)
            self.assertEqual(len(hits), 2, shown)
            self.assertRegex(shown.stdout, START_KERNEL)
            self.assertEqual(kdbg.show("session", session["name"])["runState"], "HALTED")

    def test_kill_leaves_the_guest_alive(self):
        with kdbg.session() as session:
            kdbg.gdb(session["name"], "kill")
            kdbg.console_until(session["name"], "Boot took")
            self.assertEqual(kdbg.show("session", session["name"])["state"], "READY")
            self.assertEqual(kdbg.gdb(session["name"], "info registers rip").code, Exit.DONE)

    def test_detach_lets_the_guest_run(self):
        with kdbg.session() as session:
            kdbg.gdb(session["name"], "detach")
            kdbg.console_until(session["name"], "Boot took")
            self.assertEqual(kdbg.show("session", session["name"])["runState"], "RUNNING")

    def test_a_plain_one_finds_symbols_and_lines_by_build_id(self):
        vmlinux = kdbg.artifact_file(kdbg.KERNEL, "vmlinux")
        served = kdbg.start(kdbg.BIN / "kdbgctl", "-q", "debuginfod")
        try:
            url = served.stdout.readline().strip()
            with kdbg.session() as session, kdbg.scratch() as scratch:
                bare = scratch / "vmlinux"
                self.assertEqual(kdbg.run("strip", "-o", bare, vmlinux).code, Exit.DONE)
                shown = kdbg.run("env", f"DEBUGINFOD_URLS={url}", f"DEBUGINFOD_CACHE_PATH={scratch}", "gdb", "-nx",
                                 "-batch", "-iex", "set debuginfod enabled on", bare, "-ex",
                                 "target remote {host}:{port}".format(**session["gdb"]), "-ex", "backtrace", "-ex",
                                 "list start_kernel")
        finally:
            served.send_signal(signal.SIGINT)
            self.assertEqual(served.wait(timeout=10), Exit.INTERRUPTED)
            served.stdout.close()
        self.assertRegex(shown.stdout, START_KERNEL, shown)
        self.assertRegex(shown.stdout, r"\d+\s.*void\s.*start_kernel\(void\)")

    def test_one_that_vanishes_leaves_no_breakpoint(self):
        with kdbg.session() as session:
            # `shell` runs below gdb, so its parent is gdb itself.
            kdbg.gdb(session["name"], "set breakpoint always-inserted on", "break kernel_init", "break vfs_read",
                     "shell kill -9 $PPID")
            kdbg.console_until(session["name"], "Boot took")

    def test_a_second_one_is_refused_and_told_who_holds_the_session(self):
        with kdbg.session() as session, kdbg.connect(session) as first:
            first.sendall(b"+$qSupported#37")
            answer = b""
            while b"#" not in answer:  # the acknowledgement may come by itself
                received = first.recv(4096)
                self.assertTrue(received, answer)
                answer += received
            self.assertIn(b"PacketSize", answer)
            holder = "tcp {}:{}".format(*first.getsockname())
            vmlinux = kdbg.artifact_file(kdbg.KERNEL, "vmlinux")
            endpoint = "{host}:{port}".format(**session["gdb"])
            second = kdbg.run("gdb", "-nx", "-batch", "-ex", f"target remote {endpoint}", vmlinux)
            self.assertIn(holder, second.text)
            self.assertEqual(kdbg.show("session", session["name"])["gdb"]["holder"], holder)

    def test_attaches_through_the_pipe(self):
        with kdbg.session() as session:
            vmlinux = kdbg.artifact_file(kdbg.KERNEL, "vmlinux")
            shown = kdbg.run("gdb", "-nx", "-batch", "-ex", f"target remote | kdbgctl gdb-pipe {session['name']}",
                             "-ex", "backtrace", vmlinux)
        self.assertRegex(shown.stdout, START_KERNEL)

    def test_garbage_on_the_port_harms_nobody(self):
        with kdbg.session() as session:
            for garbage in (b"$g#00", b"$" + b"A" * (1 << 20), b"\x00\xff}#$", b"$vCont;c#"):
                with kdbg.connect(session) as connection:
                    try:
                        connection.sendall(garbage)
                        connection.shutdown(socket.SHUT_WR)
                        connection.settimeout(5)
                        while connection.recv(4096):
                            pass
                    except OSError:  # refused in the middle, as it may be
                        pass
            self.assertEqual(kdbg.gdb(session["name"], "info registers rip").code, Exit.DONE)


class Clone(unittest.TestCase):
    """Of a template that the server makes once a guest was asked for twice."""

    SHAPE = ("--memory", "128M", "--stop-at", "kernel_init")

    def test_is_at_its_stop_point_and_runs_on_to_its_own_shell(self):
        with Clone.cloned(self) as session:
            self.assertEqual((session["state"], session["runState"]), ("READY", "HALTED"))
            self.assertEqual(session["stoppedAt"], "kernel_init")
            shown = kdbg.gdb(session["name"], "backtrace", "x/s linux_banner")
            self.assertRegex(shown.stdout, r"#0\s+.*kernel_init \(.*\) at \S*init/main\.c:\d+")
            self.assertIn("Linux version 6.1", shown.stdout)
            self.assertIn("Linux version 6.1", kdbg.console(session["name"]))  # printed before it was cloned
            kdbg.ctl("session", "resume", session["name"])
            kdbg.console_until(session["name"], "Boot took")

    def test_does_not_change_what_others_are_cloned_from(self):
        with Clone.cloned(self) as first:
            kdbg.gdb(first["name"], "set var *(char *)linux_banner = 'X'", "detach")
            kdbg.console_until(first["name"], "Boot took")
            with Clone.cloned(self) as second:
                self.assertIn("Linux version", kdbg.gdb(second["name"], "x/s linux_banner").stdout)

    def test_nobody_can_write_to_a_template(self):
        with Clone.cloned(self) as session:
            identity = session["name"].split("/")[-1]
            (qemu,) = kdbg.processes(f"kdbg-{identity}")
            command = pathlib.Path(f"/proc/{qemu}/cmdline").read_text()
            memory = re.search(r"mem-path=(/proc/\d+/fd/\d+)", command).group(1)
            with open(memory, "r+b", buffering=0) as image, self.assertRaises(PermissionError):
                image.write(b"x")

    def test_outlives_the_daemon_and_the_keeper_of_its_memory(self):
        with Clone.cloned(self) as session:
            name = session["name"]
            fixtures.restart()
            adopted = kdbg.show("session", name)
            self.assertEqual((adopted["state"], adopted["runState"], adopted["origin"]), ("READY", "HALTED", "CLONED"))
            (qemu,) = kdbg.processes("kdbg-" + name.split("/")[-1])
            command = pathlib.Path(f"/proc/{qemu}/cmdline").read_text()
            keeper = int(re.search(r"mem-path=/proc/(\d+)/fd", command).group(1))
            with Clone.cloned(self):  # adopted, too
                pass
            os.kill(keeper, signal.SIGKILL)
            shown = kdbg.gdb(name, "backtrace", "x/s linux_banner")
            self.assertRegex(shown.stdout, r"#0\s+.*kernel_init ")
            self.assertIn("Linux version 6.1", shown.stdout)
            kdbg.console_until(name, "Boot took")  # gdb has gone: it runs
            with kdbg.session(*Clone.SHAPE) as without:
                self.assertEqual((without["state"], without["origin"]), ("READY", "COLD"))

    @contextlib.contextmanager
    def cloned(self):
        """A session that is a clone, once the server has what it takes."""
        manifests = lambda: (kdbg.folder() / "state" / "templates").glob("*/manifest")
        made = lambda: any(str(128 << 20) in manifest.read_text() for manifest in manifests())
        if not made():
            for _ in range(2):
                with kdbg.session(*Clone.SHAPE):
                    pass
            kdbg.eventually(made, timeout=200)  # at idle priority, and not while a session starts
        with kdbg.session(*Clone.SHAPE) as session:
            self.assertEqual(session["origin"], "CLONED")
            yield session


class Warm(unittest.TestCase):
    """Clones made ahead, by a daemon that has memory for two."""

    def setUp(self):
        self.configure("warm_memory_mib = 0", "warm_memory_mib = 256")

    def tearDown(self):
        self.configure("warm_memory_mib = 256", "warm_memory_mib = 0")

    def test_one_is_assigned_at_its_stop_point_and_another_is_made(self):
        with Clone.cloned(self):
            self.ahead(2)
            with kdbg.session(*Clone.SHAPE) as session:
                self.assertEqual((session["origin"], session["stoppedAt"]), ("WARM", "kernel_init"))
                self.assertRegex(kdbg.gdb(session["name"], "backtrace").stdout, r"#0\s+.*kernel_init ")
                kdbg.console_until(session["name"], "Boot took")  # gdb has gone: it runs
                self.ahead(2)
        # They are nobody's: a daemon that is killed leaves them to the next, which removes them.
        fixtures.restart()
        kdbg.eventually(lambda: self.guests() == 0, timeout=20)

    def guests(self):
        return len([pid for pid in kdbg.processes(str(kdbg.folder())) if fixtures.is_guest(pid)])

    def ahead(self, count):
        sessions = lambda: len(kdbg.ctl("-o", "name", "session", "list").stdout.split())
        kdbg.eventually(lambda: self.guests() == sessions() + count, timeout=30)

    def configure(self, old, new):
        file = kdbg.folder() / "kdbgd.toml"
        file.write_text(file.read_text().replace(old, new))
        fixtures.restart(signal.SIGTERM)


class StopPoint(unittest.TestCase):
    def test_shell_is_reached_when_user_space_is_up(self):
        with kdbg.session("--stop-at", "shell") as session:
            self.assertEqual(session["state"], "READY")
            self.assertRegex(kdbg.console_until(session["name"], "Boot took"), r"Boot took \d[\d.]* seconds")

    def test_reset_is_before_the_first_instruction(self):
        with kdbg.session("--stop-at", "reset") as session:
            shown = kdbg.gdb(session["name"], "print/x $rip")
        self.assertRegex(shown.stdout, r"\$1 = 0xfff0\b")

    def test_none_lets_the_guest_run(self):
        with kdbg.session("--stop-at", "none") as session:
            kdbg.console_until(session["name"], "Boot took")

    def test_a_function_that_is_not_there_is_named(self):
        refused = kdbg.ctl("session", "create", "--kernel", kdbg.KERNEL, "--initramfs", kdbg.INITRAMFS,
                           "--stop-at", "no_such_function", expect=None)
        self.assertNotEqual(refused.code, Exit.DONE)
        self.assertIn("no_such_function", refused.text)


class Session(unittest.TestCase):
    def test_console_is_kept_from_byte_zero(self):
        with kdbg.session("--stop-at", "shell") as session:
            self.assertIn("Linux version 6.1", kdbg.console_until(session["name"], "Boot took"))

    def test_is_readable_on_the_console_while_gdb_holds_it(self):
        with kdbg.session("--stop-at", "kernel_init") as session, kdbg.connect(session):
            kdbg.console_until(session["name"], r"Linux version 6\.1")

    def test_reset_boots_anew_where_it_was(self):
        with kdbg.session("--stop-at", "shell") as session:
            name = session["name"]
            self.assertEqual(kdbg.console(name).count("Linux version"), 1)
            again = kdbg.ctl("-o", "json", "session", "reset", name).json()
            self.assertEqual((again["state"], again["stoppedAt"], again["gdb"]), ("READY", "shell", session["gdb"]))
            self.assertEqual(kdbg.console(name).count("Linux version"), 2)
            self.assertEqual(kdbg.gdb(name, "info threads").code, Exit.DONE)

    def test_dump_is_a_core_that_gdb_opens_and_the_guest_is_as_it_was(self):
        with kdbg.session() as session, kdbg.scratch() as scratch:
            kdbg.ctl("session", "dump", session["name"], "--output", scratch / "halted")
            opened = kdbg.run("gdb", "-nx", "-batch", "-ex", "backtrace", "-ex", "x/s linux_banner",
                              scratch / "halted/vmlinux", scratch / "halted/vmcore")
            self.assertRegex(opened.stdout, START_KERNEL)
            self.assertIn("Linux version 6.1", opened.stdout)
            self.assertRegex(kdbg.gdb(session["name"], "backtrace").stdout, START_KERNEL)

            kdbg.ctl("session", "resume", session["name"])
            kdbg.console_until(session["name"], "Boot took")
            kdbg.ctl("session", "dump", session["name"], "--output", scratch / "running")
            self.assertEqual(kdbg.show("session", session["name"])["runState"], "RUNNING")
            opened = kdbg.run("gdb", "-nx", "-batch", "-ex", "print init_uts_ns.name.sysname", "-ex",
                              "print system_state", scratch / "running/vmlinux", scratch / "running/vmcore")
            self.assertIn("SYSTEM_RUNNING", opened.stdout)
            self.assertIn("Linux", opened.stdout)

    def test_saved_it_goes_on_and_others_go_on_from_there(self):
        with kdbg.session("--memory", "128M", "--stop-at", "kernel_init") as session:
            saved = kdbg.ctl("-o", "name", "session", "save", session["name"]).stdout.strip()
            self.assertRegex(kdbg.gdb(session["name"], "backtrace").stdout, r"#0\s+.*kernel_init ")
            kdbg.console_until(session["name"], "Boot took")  # gdb has gone: it runs
        for _ in range(2):
            restored = kdbg.ctl("-o", "json", "session", "restore", saved).json()
            try:
                self.assertEqual((restored["state"], restored["runState"], restored["origin"]),
                                 ("READY", "HALTED", "RESTORED"))
                self.assertIn("Linux version 6.1", kdbg.console(restored["name"]))
                self.assertRegex(kdbg.gdb(restored["name"], "backtrace").stdout, r"#0\s+.*kernel_init ")
                kdbg.console_until(restored["name"], "Boot took")
            finally:
                kdbg.ctl("session", "rm", restored["name"])

    # Without an initramfs there is no root to mount: the kernel panics.
    PANICS = ("--kernel", kdbg.KERNEL, "--initramfs", "none", "--stop-at", "none")

    def test_a_panic_and_an_expiry_are_dumped_when_asked(self):
        with kdbg.session_on(*self.PANICS, "--on-panic", "dump", "--on-expiry", "dump") as session, \
                kdbg.scratch() as scratch:
            now = lambda: kdbg.show("session", session["name"])
            dump = kdbg.eventually(lambda: now().get("lastDump"))
            self.assertEqual((now()["state"], now()["failure"]["reason"]), ("CRASHED", "GUEST_PANICKED"))
            self.assertRegex(kdbg.gdb(session["name"], "backtrace").stdout, r"\bpanic \(")
            kdbg.ctl("artifact", "get", dump, "--output", scratch / "panicked")
            opened = kdbg.run("gdb", "-nx", "-batch", "-ex", "backtrace", scratch / "panicked/vmlinux",
                              scratch / "panicked/vmcore")
            self.assertRegex(opened.stdout, r"\bpanic \(")
            kdbg.ctl("session", "renew", session["name"], "--ttl", "1s")
            kdbg.eventually(lambda: now()["state"] == "ENDED")
            self.assertEqual(now()["endReason"], "EXPIRED")
            self.assertNotEqual(now()["lastDump"], dump)

    def test_a_panic_resets_when_asked(self):
        with kdbg.session_on(*self.PANICS, "--on-panic", "reset") as session:
            kdbg.eventually(lambda: kdbg.console(session["name"]).count("Linux version") >= 2)

    def test_removed_gives_back_port_and_vm(self):
        with kdbg.session() as session:
            identity = session["name"].split("/")[-1]
            self.assertNotEqual(kdbg.processes(f"kdbg-{identity}"), [])
            kdbg.ctl("session", "rm", session["name"])
            with self.assertRaises(OSError):
                kdbg.connect(session)
            kdbg.eventually(lambda: not kdbg.processes(f"kdbg-{identity}"), timeout=20)
            names = lambda: kdbg.ctl("-o", "name", "session", "list").stdout.split()
            kdbg.eventually(lambda: session["name"] not in names(), timeout=20)

    def test_ends_with_its_lease(self):
        with kdbg.session("--ttl", "3s") as session:
            now = lambda: kdbg.show("session", session["name"])
            kdbg.eventually(lambda: now()["state"] == "ENDED", timeout=30)
            self.assertEqual(now()["endReason"], "EXPIRED")

    def test_takes_the_newest_builds_by_default(self):
        made = kdbg.ctl("-o", "json", "session", "create").json()
        try:
            self.assertEqual(made["state"], "READY")
        finally:
            kdbg.ctl("session", "rm", made["name"])

    def test_memory_of_zero_is_refused(self):
        self.refused("--memory", "0", naming="memory")

    def test_memory_beyond_the_host_is_refused(self):
        self.refused("--memory", "9999G", naming="memory")

    def test_a_kernel_that_is_not_there_is_not_found(self):
        refused = kdbg.ctl("session", "create", "--kernel", "no-such-build", expect=Exit.NOT_FOUND)
        self.assertIn("no-such-build", refused.stderr)

    def refused(self, *arguments, naming):
        before = kdbg.ctl("-o", "name", "session", "list").stdout
        refused = kdbg.ctl("session", "create", "--kernel", kdbg.KERNEL, "--initramfs", kdbg.INITRAMFS, *arguments,
                           expect=Exit.USAGE)
        self.assertRegex(refused.stderr, naming)
        self.assertEqual(kdbg.ctl("-o", "name", "session", "list").stdout, before)
