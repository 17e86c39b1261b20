/* MASTER. See pool.h: the list of pools, and the way of a waiting connection to the worker that fits best. */
#include "pool.h"

#include <stdlib.h>

#include "balance.h"
#include "listener.h"
#include "loan.h"
#include "lobby.h"
#include "log.h"
#include "shared.h"
#include "slot.h"

enum { CANDIDATES_MAX = 1024 };

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

/* Those that can take a connection now; returns how many. */
static int collect(const struct pool *pool, uint64_t now, struct slot **slots, struct candidate *candidates) {
    int count = 0;
    for (struct slot *slot = pool->slots; slot && count < CANDIDATES_MAX; slot = slot->next) {
        if (!loan_can_take(slot, now)) continue;
        slots[count] = slot;
        candidates[count++] = (struct candidate){
            .behind = !loan_has_taken_all(slot),
            .load = loan_load(slot),
            .handed = slot->handed,
        };
    }
    return count;
}

static struct slot *choose(struct pool *pool, uint64_t now) {
    struct slot *slots[CANDIDATES_MAX];
    struct candidate candidates[CANDIDATES_MAX];
    int count = collect(pool, now, slots, candidates);
    int best = pool->choose && count > 0 ? pool->choose(pool, slots, count) : -1;
    if (best < 0 || best >= count) best = balance_choose(candidates, (size_t)count);
    return best < 0 ? NULL : slots[best];
}

bool pool_can_lend(const struct pool *pool, const struct slot *except) {
    for (struct slot *slot = pool->slots; slot; slot = slot->next)
        if (slot != except && loan_can_take(slot, uv_now(slot->channel.loop))) return true;
    return false;
}

int pool_share(struct pool *pool) {
    if (pool->shared) return 0;
    int err = pool->shared_fd < 0 ? shared_create(&pool->shared_fd) : 0;
    return err < 0 ? err : shared_map(pool->shared_fd, &pool->shared);
}

uint32_t pool_free_place(const struct pool *pool) {
    uint64_t taken = 0;
    for (const struct slot *slot = pool->slots; slot; slot = slot->next)
        if (slot->state != SLOT_GONE && slot->place < BULKHEAD_PLACES) taken |= (uint64_t)1 << slot->place;
    return taken == UINT64_MAX ? BULKHEAD_PLACES : (uint32_t)__builtin_ctzll(~taken);
}

void pool_publish_ready(struct pool *pool) {
    uint64_t ready = 0;
    for (const struct slot *slot = pool->slots; slot; slot = slot->next)
        if (slot->state == SLOT_READY && slot->place < BULKHEAD_PLACES) ready |= (uint64_t)1 << slot->place;
    atomic_store(&pool->shared->bulkhead.ready, ready);
}

bool pool_wants_worker(const struct pool *pool) {
    if (link_alone(&pool->waiting)) return false;
    for (const struct slot *slot = pool->slots; slot; slot = slot->next)
        if (slot->state == SLOT_STARTING || slot->state == SLOT_READY) return false;
    return true;
}

/* The lobby is full when more wait than can be lent, not when many come in one turn: the newest are told. */
static void turn_away_newest(struct pool *pool) {
    while (pool->waiting_count > pool->options.queue_max) {
        struct connection *last = connection_of(pool->waiting.prev);
        if (wheel_is_set(&last->deadline)) return; /* has been let in */
        pool->turned_away++;
        lobby_farewell(last, pool->options.gone, pool->options.gone_len);
    }
}

/* Those that could not be lent in this turn stand at the ends of the list: new ones last, returned ones first. */
static void stay(struct pool *pool) {
    for (struct link *at = pool->waiting.prev; at != &pool->waiting && !wheel_is_set(&connection_of(at)->deadline);
         at = at->prev)
        lobby_stay(connection_of(at));
    for (struct link *at = pool->waiting.next; at != &pool->waiting && !wheel_is_set(&connection_of(at)->deadline);
         at = at->next)
        lobby_stay(connection_of(at));
}

void pool_dispatch(struct pool *pool) {
    if (link_alone(&pool->waiting)) return;
    while (!link_alone(&pool->waiting)) {
        struct slot *slot = pool->slots ? choose(pool, uv_now(pool->slots->channel.loop)) : NULL;
        if (!slot) break;
        struct connection *connection = connection_of(pool->waiting.next);
        lobby_leave(connection);
        connection_unlink(connection);
        if (!loan_add(slot, connection)) {
            lobby_wait(connection, CONNECTION_FIRST);
            break;
        }
        if (slot->batch_count == CHANNEL_LOANS_MAX) loan_flush(slot);
    }
    for (struct slot *slot = pool->slots; slot; slot = slot->next) loan_flush(slot);
    turn_away_newest(pool);
    stay(pool);
}

void pool_clients_speak_first(struct pool *pool) {
    if (pool->clients_speak_first) return;
    pool->clients_speak_first = true;
    if (!pool->options.defer_accept) return;
    for (struct listener *listener = pool->listeners; listener; listener = listener->next)
        listener_defer(listener, true);
}
