/* MASTER. Clients of a listening port that accept(2) does not give yet: they have connected, and the kernel waits for
 * their first bytes (TCP_DEFER_ACCEPT). Closing the listener resets them. */
#ifndef CLUA_TCP_HALF_OPEN_H
#define CLUA_TCP_HALF_OPEN_H

#include <stdbool.h>
#include <stdint.h>

/* Whether there is any, at whichever address of this port, or one that is only about to connect: the kernel tells no
 * difference. False when it cannot be asked (sock_diag(7)). family: AF_INET, AF_INET6. */
bool tcp_half_open(int family, uint16_t port);

#endif
