/* MASTER. The way of a pool's waiting connections to the workers that fit best. */
#ifndef CLUA_POOL_DISPATCH_H
#define CLUA_POOL_DISPATCH_H

#include <stdbool.h>

struct pool;

/* Lends what waits, as far as workers can take it. Of the rest the newest beyond queue_max are turned away. */
void pool_dispatch(struct pool *pool);

/* True when clients wait, and no worker is there or on the way. */
bool pool_wants_worker(const struct pool *pool);

#endif
