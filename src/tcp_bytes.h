/* MASTER. How much was ever written to a TCP connection, by whoever held it. */
#ifndef CLUA_TCP_BYTES_H
#define CLUA_TCP_BYTES_H

#include <stdbool.h>
#include <stdint.h>

/* What the client has acknowledged (tcpi_bytes_acked, RFC 4898) and what it has not yet (SIOCOUTQ, tcp(7)), modulo 2^32.
 * False for a socket that is no TCP connection: then *out is untouched. */
bool tcp_bytes_written(int fd, uint32_t *out);

#endif
