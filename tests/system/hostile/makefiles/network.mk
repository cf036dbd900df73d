# Talks to the world, and to what listens on the host's loopback at PORT.
all:
	@python3 -c 'import socket; socket.create_connection(("127.0.0.1", $(PORT)), 3); print("REACHED")'; true
	@python3 -c 'import socket; socket.create_connection(("192.0.2.1", 80), 3); print("REACHED")'; true
	@python3 -c 'import socket; socket.getaddrinfo("example.org", 80); print("REACHED")'; true
