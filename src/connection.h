/* MASTER. The table of all connections that the master owns.
 *
 * A connection is in exactly one place: waiting for a worker, parked until bytes arrive, lent, or saying farewell.
 * Only connection_move() writes `place`. Names given to the kernel (epoll data) carry a generation, so that an event
 * for a connection that has ended meanwhile finds nothing. */
#ifndef CLUA_CONNECTION_H
#define CLUA_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "wheel.h"

struct pool;
struct slot;

/* A list: a ring through a head. An unlinked one points to itself. */
struct link {
    struct link *next, *prev;
};

static inline void link_init(struct link *head) {
    head->next = head->prev = head;
}

static inline bool link_alone(const struct link *head) {
    return head->next == head;
}

#define CONNECTION_PLACES(X)                                                                                           \
    X(NEW, "new")           /* accepted, in no list yet */                                                             \
    X(WAITING, "waiting")   /* lobby: to be lent as soon as a worker can take it */                                    \
    X(PARKED, "parked")     /* lobby: between two requests, until bytes arrive */                                      \
    X(LENT, "lent")         /* a worker has it; `slot` and `loan` say which */                                         \
    X(FAREWELL, "farewell") /* answered by the master and shut down; waits for the client's end */

enum connection_place {
#define X(name, text) CONNECTION_##name,
    CONNECTION_PLACES(X)
#undef X
};

struct connection {
    struct link link; /* the pool's list of this place, or the free list; stays the first member */
    struct wheel_entry deadline;
    struct pool *pool;
    struct slot *slot;         /* LENT only */
    uint64_t waiting_since_ns; /* WAITING, and until the loan was sent; else 0 */
    uint32_t loan;             /* LENT only: index in the slot */
    uint32_t generation;
    uint32_t index;
    uint32_t lent;    /* how often */
    uint32_t written; /* bytes that workers have given it in ended loans, modulo 2^32 */
    int fd;           /* -1: the worker has the only descriptor */
    uint16_t port;
    uint8_t place;
    bool polled;  /* registered in the lobby's epoll */
    bool armed;   /* and an event may come */
    bool unowned; /* LENT only: the worker has, or is to have, the only descriptor */
};

/* A new connection that owns fd, or NULL (out of memory; the caller keeps fd). */
struct connection *connection_new(struct pool *pool, int fd, uint16_t port);

/* Closes the descriptor and frees. It must be in no list, no timer, no epoll any more: see lobby_end(). */
void connection_free(struct connection *connection);

/* The 64-bit name for epoll, and back; NULL when that connection has ended. */
uint64_t connection_name(const struct connection *connection);
struct connection *connection_find(uint64_t name);

/* Moves it to the end of a list of its pool (or the front: it has waited already). */
enum connection_end { CONNECTION_LAST, CONNECTION_FIRST };
void connection_move(struct connection *connection, enum connection_place place, struct link *list,
                     enum connection_end end);

/* Takes it out of its list; a lent connection is in none. */
void connection_unlink(struct connection *connection);

static inline struct connection *connection_of(struct link *link) {
    return (struct connection *)link;
}

/* All connections: NULL starts, NULL ends. */
struct connection *connection_after(const struct connection *connection);

#endif
