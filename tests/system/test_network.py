"""A guest's own network, asked from inside: what a forward lets in, and that nothing gets out."""

import contextlib
import socket
import unittest

import fixtures
import kdbg
from terminal import shell


def answer(forward):
    """What the guest says to who connects."""
    with socket.create_connection((forward["host"], forward["port"]), timeout=10) as connection:
        connection.settimeout(10)
        return connection.recv(100)


class Network(unittest.TestCase):
    def test_a_forward_leads_in_and_stays_over_a_restart_and_a_reset(self):
        with kdbg.session("--stop-at", "none", "--forward", "8080") as session:
            self.assertEqual(session["origin"], "COLD")
            forward, = session["network"]["forwards"]
            self.assertEqual((forward["guestPort"], forward["host"]), (8080, "127.0.0.1"))

            def served():
                with shell(session) as terminal:
                    terminal.type("nc -ll -p 8080 -e echo it is $((40 + 2)) &\r")
                    return kdbg.eventually(lambda: attempt(forward), timeout=20)

            self.assertEqual(served(), b"it is 42\n")
            fixtures.restart()
            self.assertEqual(answer(forward), b"it is 42\n")
            kdbg.ctl("session", "reset", session["name"])
            self.assertEqual(kdbg.show("session", session["name"])["network"], session["network"])
            kdbg.eventually(lambda: kdbg.console(session["name"]).count("Boot took") == 2)
            self.assertEqual(served(), b"it is 42\n")
        kdbg.eventually(lambda: refused(forward), timeout=20)

    def test_neither_the_hosts_loopback_nor_anything_beyond_is_reached_from_inside(self):
        with socket.create_server(("127.0.0.1", 0)) as listener, \
                kdbg.session("--stop-at", "none", "--net") as session, shell(session) as terminal:
            port = listener.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)):  # it does listen
                listener.accept()[0].close()
            terminal.type("ifconfig eth0 | grep -c 10.0.2.15\r")
            terminal.until(r"(?m)^1 *$")
            for address in ("10.0.2.2", "10.0.2.3"):
                terminal.type(f"nc -w 3 {address} {port} < /dev/null; echo {address} ended $?\r")
                terminal.until(rf"(?m)^{address} ended [1-9]")
            terminal.type("nc -w 3 192.0.2.1 80 < /dev/null; echo beyond ended $?\r")
            terminal.until(r"(?m)^beyond ended [1-9]")
            listener.settimeout(0)
            with self.assertRaises(BlockingIOError):
                listener.accept()

    def test_none_is_there_unless_asked_for(self):
        with kdbg.session("--stop-at", "none") as session, shell(session) as terminal:
            self.assertNotIn("network", session)
            terminal.type("ls /sys/class/net; echo that is all\r")
            terminal.until(r"(?m)^that is all")
            self.assertRegex(terminal.text(), r"(?m)^lo\b")
            self.assertNotIn("eth0", terminal.text())


def attempt(forward):
    with contextlib.suppress(OSError):
        return answer(forward)


def refused(forward):
    try:
        answer(forward)
    except ConnectionRefusedError:
        return True

