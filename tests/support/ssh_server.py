"""Lets the user of this process in by ssh on the loopback, with one key: FOLDER, which gets that key and a config for
ssh -F. Prints its port. The home with that key in it is there for the server alone."""

import os
import pathlib
import socket
import subprocess
import sys

folder = pathlib.Path(sys.argv[1])
folder.mkdir(mode=0o700)
subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "id"], check=True)
subprocess.run(["dropbearkey", "-t", "ed25519", "-f", folder / "host"], check=True, stdout=subprocess.DEVNULL,
               stderr=subprocess.DEVNULL)
host_key = subprocess.run(["dropbearkey", "-y", "-f", folder / "host"], check=True, stdout=subprocess.PIPE,
                          text=True).stdout.splitlines()[1].split()[:2]

listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
(folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {' '.join(host_key)}\n")
(folder / "config").write_text(f"IdentityFile {folder}/id\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known_hosts\n"
                               "GlobalKnownHostsFile /dev/null\n")
print(port, flush=True)

home = pathlib.Path("~").expanduser()
sandbox = ["bwrap", "--dev-bind", "/", "/", "--tmpfs", home, "--perms", "0700", "--dir", home / ".ssh",
           "--ro-bind", folder / "id.pub", home / ".ssh/authorized_keys", "--die-with-parent"]
if os.geteuid() == 0:
    sandbox += ["--cap-add", "ALL"]  # it takes on the user's uid, though there is only one
while True:
    connection = listener.accept()[0]
    subprocess.Popen([*sandbox, "dropbear", "-i", "-s", "-r", folder / "host"], stdin=connection, stdout=connection,
                     stderr=subprocess.DEVNULL)
    connection.close()
