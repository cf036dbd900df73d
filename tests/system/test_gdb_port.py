"""Who gets a guest: at its port, and from another gdb."""

import os
import subprocess
import sys
import unittest

import kdbg
from kdbg import Exit

ASK = """
import socket, sys
port = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10)
port.sendall(b"+$qSupported#37")
answer = b""
while b"#" not in answer:
    answer += port.recv(4096) or b"#"
print(answer.decode())
"""


class GdbPort(unittest.TestCase):
    @unittest.skipUnless(os.getuid() == 0, "only root can be somebody else")
    def test_another_user_of_this_host_is_turned_away(self):
        with kdbg.session() as session:
            endpoint = [session["gdb"]["host"], str(session["gdb"]["port"])]
            refused = kdbg.run(sys.executable, "-c", ASK, *endpoint, user=65534, group=65534, cwd="/")
            admitted = kdbg.run(sys.executable, "-c", ASK, *endpoint)
        self.assertRegex(refused.stdout, r"\$E\.vm-\w+ is \w+'s, who can let you in with kdbgctl session share")
        self.assertIn("PacketSize", admitted.stdout)

    def test_its_owner_takes_a_session_over_from_a_gdb_left_elsewhere(self):
        with kdbg.session() as session:
            left = subprocess.Popen(
                [kdbg.BIN / "kdbgctl", "gdb", session["name"], "--", "-batch",
                 "-ex", "python import time; time.sleep(100)"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                env=kdbg.environment())
            try:
                kdbg.eventually(lambda: kdbg.show("session", session["name"])["gdb"].get("holder"))
                self.assertEqual(kdbg.gdb(session["name"], "backtrace").code, Exit.BUSY)
                taken = kdbg.run(kdbg.BIN / "kdbgctl", "gdb", "--take-over", session["name"], "--", "-batch",
                                 "-ex", "info registers rip")
                self.assertEqual(taken.code, Exit.DONE, taken)
                self.assertRegex(taken.stdout, r"(?m)^rip +0x")
            finally:
                left.kill()
                left.communicate()
