# Changes the source it is built from.
all:
	@touch /src/planted && echo REACHED; true
	@echo all: > /src/Makefile && echo REACHED; true
	@rm -f /src/Makefile && echo REACHED; true
	@mount -o remount,rw /src && echo REACHED; true
	@touch /usr/bin/planted && echo REACHED; true
	@touch /etc/planted && echo REACHED; true
	@touch /build/fine /ccache/fine /tmp/fine && echo WRITABLE
