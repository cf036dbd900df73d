# One process that takes it all; or eight that share the work.
one:
	@head -c 2G /dev/zero | tail -n 1 > /dev/null
many:
	@for i in 1 2 3 4 5 6 7 8; do head -c 96M /dev/zero | tail -n 1 | sleep 60 & done; wait
shared:
	@head -c 2G /dev/zero > /dev/shm/full; head -c 2G /dev/zero > /tmp/full; rm -f /tmp/full /dev/shm/full; echo bounded
