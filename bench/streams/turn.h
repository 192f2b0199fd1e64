/* Connections through a TURN relay over TCP (RFC 6062): an allocation, peers that connect to it, and a connection of the client's
 * bound to each. */
#ifndef BENCH_TURN_H
#define BENCH_TURN_H

/* ADDRESS, PORT, USERNAME and PASSWORD of the relay; `own` is the address that we have on the way to it. */
void connect_by_relay(char **relay, const char *own, int n, int *clients, int *peers);

#endif
