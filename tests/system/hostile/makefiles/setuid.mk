# Leaves a program on the host that would run with somebody's rights, and a device.
all:
	cp /usr/bin/id /build/evil
	chown 0:0 /build/evil; true
	chmod 6755 /build/evil
	mknod /build/disk b 8 0; true
	@/build/evil -u
