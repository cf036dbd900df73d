# Connects to the daemon. STATE/daemon.sock is its socket, ABSTRACT an abstract name it listens on.
all:
	@python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.connect("$(STATE)/daemon.sock"); print("REACHED")'; true
	@python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.connect("\0$(ABSTRACT)"); print("REACHED")'; true
