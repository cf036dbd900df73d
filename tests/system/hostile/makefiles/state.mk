# Reads the state directory of the daemon by every road to the host's files. STATE is its path.
all:
	@cat $(STATE)/secret && echo REACHED; true
	@ls $(STATE) && echo REACHED; true
	@cat /build/../secret && echo REACHED; true
	@for p in /proc/[0-9]*; do cat $$p/root$(STATE)/secret && echo REACHED; done; true
	@for p in /proc/[0-9]*/fd/*; do cat $$p/secret 2>&1 && echo REACHED; done; true
	@ls /
