/* MASTER. See pool_dispatch.h. Stands above pool, slot and loan, which do not know it. */
#include "pool_dispatch.h"

#include "balance.h"
#include "loan.h"
#include "lobby.h"
#include "pool.h"
#include "slot_life.h"

enum { CANDIDATES_MAX = 1024 };

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

static void flush(struct slot *slot) {
    if (loan_flush(slot) == UV_EAGAIN) slot_want_write(slot);
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
        if (slot->batch_count == CHANNEL_LOANS_MAX) flush(slot);
    }
    for (struct slot *slot = pool->slots; slot; slot = slot->next) flush(slot);
    turn_away_newest(pool);
    stay(pool);
}
