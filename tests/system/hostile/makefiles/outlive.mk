# Leaves a child behind that has its own session, ignores signals and lost its parents.
all:
	@(trap '' HUP TERM INT; setsid sh -c 'trap "" HUP TERM INT; (sleep $(MARK) &) & sleep $(MARK)' > /dev/null 2>&1 &)
	@echo left
