"""Development environments: the files that kdbgctl writes for them, and gdb driven as they drive it."""

import contextlib
import json
import re
import subprocess
import threading
import unittest
import xml.etree.ElementTree as xml

import kdbg

FILE = "init/main.c"


class MachineInterface:
    """A gdb that speaks MI, as a development environment starts it."""

    def __init__(self, *command):
        self.gdb = subprocess.Popen(
            [*command, "--interpreter=mi2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=kdbg.environment())
        self.said = []

    def until(self, pattern, timeout=60):
        """The next line that matches."""
        patience = threading.Timer(timeout, self.gdb.kill)
        patience.start()
        try:
            for line in self.gdb.stdout:
                self.said.append(line)
                if re.search(pattern, line):
                    return line
        finally:
            patience.cancel()
        raise AssertionError(f"no {pattern!r}:\n{''.join(self.said)}")

    def ask(self, command):
        """The result record of one command."""
        self.gdb.stdin.write(command + "\n")
        self.gdb.stdin.flush()
        return self.until(r"^\^(done|running|connected|error)")

    def console(self, command):
        return self.ask(f'-interpreter-exec console "{command}"')


@contextlib.contextmanager
def machine_interface(*command):
    interface = MachineInterface(*command)
    try:
        yield interface
    finally:
        interface.gdb.communicate("-gdb-exit\n", timeout=30)


@contextlib.contextmanager
def tree():
    """The user's own copy of what the shared kernel was built from, as far as these tests look into it."""
    source = kdbg.show("build", kdbg.KERNEL)["source"]
    with kdbg.scratch() as scratch:
        directory = scratch / "my linux"
        (directory / FILE).parent.mkdir(parents=True)
        (directory / FILE).write_text(kdbg.ctl("source", "cat", source.partition("/")[2], FILE).stdout)
        yield directory


def line_of(directory, text):
    lines = (directory / FILE).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def write(ide, session, directory):
    written = kdbg.ctl("-o", "json", "ide", ide, session["name"], "--source-dir", directory)
    return written.json()["file"]


class Ide(unittest.TestCase):
    def test_vscode_stops_at_a_line_that_was_set_in_the_users_tree(self):
        with kdbg.session() as session, tree() as directory:
            with open(write("vscode", session, directory), encoding="utf-8") as file:
                launch, = json.load(file)["configurations"]
            (compiled, mapped), = launch["sourceFileMap"].items()
            self.assertEqual(mapped["editorPath"], str(directory))
            line = line_of(directory, "static int __ref kernel_init(void *unused)")
            with machine_interface(launch["miDebuggerPath"]) as gdb:
                # In the order in which Microsoft's debug adapter does it.
                for command in launch["setupCommands"]:
                    self.assertTrue(gdb.console(command["text"]).startswith("^done"), gdb.said)
                gdb.console("set debuginfod enabled off")
                self.assertTrue(gdb.ask(f"-file-exec-and-symbols {launch['program']}").startswith("^done"), gdb.said)
                gdb.ask("-break-insert main")  # an error here, which the adapter expects
                gdb.ask(f"-target-select remote {launch['miDebuggerServerAddress']}")
                stopped = "".join(gdb.said)
                self.assertIn('func="start_kernel"', stopped)
                self.assertIn(f'fullname="{directory}/{FILE}"', stopped)
                self.assertIn("bkpt={", gdb.ask(f'-break-insert -f "{compiled}/{FILE}:{line}"'))
                self.assertTrue(gdb.ask("-exec-continue").startswith("^running"))
                hit = gdb.until(r'^\*stopped,reason="breakpoint-hit"')
                self.assertIn('func="kernel_init"', hit)
                self.assertIn(f'fullname="{directory}/{FILE}"', hit)
                gdb.console("lx-version")
                self.assertRegex("".join(gdb.said), r"Linux version 6\.1\.")
                gdb.console("list")
                self.assertIn("wait_for_completion(&kthreadd_done)", "".join(gdb.said))

    def test_eclipse_connects_through_its_connection_uri(self):
        with kdbg.session() as session, tree() as directory:
            root = xml.parse(write("eclipse", session, directory)).getroot()
            keys = {one.get("key"): one.get("value") for one in root}
            jtag = "org.eclipse.cdt.debug.gdbjtag.core."
            scheme, _, connection = keys[jtag + "connection"].partition(":")
            self.assertEqual(scheme, "gdb")
            with machine_interface(keys["org.eclipse.cdt.dsf.gdb.DEBUG_NAME"]) as gdb:
                gdb.console(f"source {keys['org.eclipse.cdt.dsf.gdb.GDB_INIT']}")
                gdb.ask(f"-file-exec-file {keys['org.eclipse.cdt.launch.PROGRAM_NAME']}")
                gdb.console(f"symbol-file {keys[jtag + 'symbolsFileName']}")
                gdb.ask(f"-target-select remote {connection}")
                self.assertIn(f'fullname="{directory}/{FILE}"', "".join(gdb.said))

    def test_clion_connects_with_a_gdb_that_has_the_settings(self):
        with kdbg.session() as session, tree() as directory:
            configuration = xml.parse(write("clion", session, directory)).getroot().find("configuration")
            with machine_interface(configuration.findtext("debugger")) as gdb:
                gdb.ask(f"-file-exec-and-symbols {configuration.get('symbolFile')}")
                gdb.console(f"target remote {configuration.get('remoteCommand')}")
                self.assertIn(f'fullname="{directory}/{FILE}"', "".join(gdb.said))
                line = line_of(directory, "static int __ref kernel_init(void *unused)")
                self.assertIn('func="kernel_init"', gdb.ask(f'-break-insert "\\"{directory}/{FILE}\\":{line}"'))

    def test_a_pipe_is_a_server_address_too(self):
        """What a server far away gets in place of HOST:PORT."""
        with kdbg.session() as session, tree() as directory:
            with open(write("vscode", session, directory), encoding="utf-8") as file:
                launch, = json.load(file)["configurations"]
            with machine_interface(launch["miDebuggerPath"]) as gdb:
                gdb.ask(f"-file-exec-and-symbols {launch['program']}")
                told = gdb.ask(f"-target-select remote | {kdbg.BIN}/kdbgctl gdb-pipe {session['name']}")
                self.assertTrue(told.startswith("^connected"), gdb.said)
