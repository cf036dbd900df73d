# Reads the accounts of the host.
all:
	@cat /etc/shadow && echo REACHED; true
	@cat /proc/1/root/etc/shadow && echo REACHED; true
	@cd /etc && find . | LC_ALL=C sort
