# One process that takes it all; or eight that share the work.
one:
	@head -c 512M /dev/zero | tail -n 1 > /dev/null
many:
	@for i in 1 2 3 4 5 6 7 8; do head -c 96M /dev/zero | tail -n 1 | sleep 60 & done; wait
shared:
	@head -c 512M /dev/zero > /dev/shm/full; head -c 512M /dev/zero > /tmp/full; rm -f /tmp/full /dev/shm/full; echo bounded
