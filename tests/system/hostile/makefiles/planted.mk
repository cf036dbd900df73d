# Leaves something else where the daemon expects a kernel.
symlink:
	ln -sf /etc/shadow vmlinux
fifo:
	mkfifo vmlinux
directory-link:
	ln -s / arch
socket:
	python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("vmlinux")'
plain:
	echo kernel > vmlinux
