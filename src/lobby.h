/* MASTER. The lobby: connections that no worker has, and the epoll instance that watches those of them (and the lent
 * ones of a stuck worker) that are waiting for something. One uv_poll on that instance wakes the loop, so a parked
 * connection costs no libuv handle.
 *
 * The master never reads a client's bytes: it asks how many wait (FIONREAD), and what a client still sends after a
 * farewell is discarded by the kernel (MSG_TRUNC, tcp(7)). */
#ifndef CLUA_LOBBY_H
#define CLUA_LOBBY_H

#include <uv.h>

#include "connection.h"

int lobby_open(uv_loop_t *loop);

/* A fresh or returned connection wants a worker now; pool_dispatch() says how it goes on. */
void lobby_wait(struct connection *connection, enum connection_end end);

/* No worker can take it in this turn: its age (queue_timeout) is counted, and a hang-up noticed, from now on. */
void lobby_stay(struct connection *connection);

/* Nothing is to be done before bytes arrive; keep_ms: then it is closed, 0 = no limit. */
void lobby_park(struct connection *connection, uint32_t keep_ms);

/* A fresh connection whose client speaks first: it is lent when bytes have come, or when the client has said nothing for
 * LOBBY_SILENCE_MS: then it is for the worker to say how long it may go on like that. */
enum { LOBBY_SILENCE_MS = 1000 };
void lobby_expect(struct connection *connection);

/* It leaves the lobby for a worker: takes it out of epoll, wheel and count; the caller puts it into its list. */
void lobby_leave(struct connection *connection);

/* Sends `reply` (may be empty), shuts down, and closes once the client has; at the latest after some seconds. */
void lobby_farewell(struct connection *connection, const char *reply, size_t len);

/* Ends it at once: FIN (if the worker has not), close, free. */
void lobby_end(struct connection *connection);

/* Watches a lent connection whose worker is stuck; lobby_unwatch before it goes on. */
void lobby_watch_lent(struct connection *connection);
void lobby_unwatch(struct connection *connection);

/* Called when a watched lent connection has bytes waiting. */
typedef void (*lobby_readable_fn)(struct connection *connection);
void lobby_on_lent_readable(lobby_readable_fn readable);

/* At the end of a stop: closes what is parked, answers what still waits with `gone`. */
void lobby_end_parked(struct pool *pool);
void lobby_turn_away_waiting(struct pool *pool);
void lobby_end_farewells(struct pool *pool);

#endif
