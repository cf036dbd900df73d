# A build that takes its time, with children that will not listen.
all:
	@trap '' HUP TERM INT; sleep $(MARK) & setsid sleep $(MARK) & echo ready; wait
