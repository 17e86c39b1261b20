/* MASTER. See pool.h. Owns the list of pools. */
#include "pool.h"

#include <stdlib.h>

#include "shared.h"

static struct pool *pools;

struct pool *pool_first(void) {
    return pools;
}

void pool_options_free(struct pool_options *options) {
    free(options->name);
    free(options->script);
    free(options->user);
    free(options->group);
    free(options->args);
    free(options->gone);
    free(options->lost);
}

struct pool *pool_new(const struct pool_options *options) {
    struct pool *pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pool->options = *options;
    pool->shared_fd = -1;
    pool->access_fd = -1;
    link_init(&pool->waiting);
    link_init(&pool->parked);
    link_init(&pool->farewell);
    struct pool **at = &pools; /* in the order of registration */
    while (*at) at = &(*at)->next;
    *at = pool;
    return pool;
}

int pool_share(struct pool *pool) {
    if (pool->shared) return 0;
    int err = pool->shared_fd < 0 ? shared_create(&pool->shared_fd) : 0;
    return err < 0 ? err : shared_map(pool->shared_fd, &pool->shared);
}
