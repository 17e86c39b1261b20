/* MASTER. See loan.h. All that is read from the segment is the worker's word and is checked here. */
#include "loan.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lobby.h"
#include "log.h"
#include "pool.h"
#include "tcp_bytes.h"

/* In slot->loans: the master took the loan back, its index waits for the worker's COMPLETION_DROP. */
#define LOAN_TAKEN_MARK ((struct connection *)(uintptr_t)1)

enum {
    LOANS_UNTAKEN_MAX = CHANNEL_LOANS_MAX, /* loans on their way to one worker */
    LOANS_FIRST_CAP = 64,
    RESCUE_PER_CHECK = 512,
    NO_FDS_PAUSE_MS = 1000,
    ORPHAN_KEEP_MS = 75000, /* how long an idle connection of a dead worker may stay parked */
};

static uint64_t now_ms(const struct slot *slot) {
    return uv_now(slot->channel.loop);
}

static _Atomic uint32_t *word_of(const struct slot *slot, uint32_t loan) {
    return &slot->segment->loans[loan];
}

/* ---- figures -------------------------------------------------------------------------------------------------- */

static uint32_t untaken(const struct slot *slot) {
    uint32_t taken = atomic_load_explicit(&slot->segment->figures.loans_taken, memory_order_acquire);
    uint32_t count = slot->sent - taken;
    return count > slot->outstanding ? slot->outstanding : count; /* a worker that lies gets no more than it has */
}

bool loan_has_taken_all(const struct slot *slot) {
    return untaken(slot) == 0;
}

uint32_t loan_load(const struct slot *slot) {
    int32_t remain = atomic_load_explicit(&slot->segment->figures.remain, memory_order_relaxed);
    return (remain > 0 ? (uint32_t)remain : 0) + untaken(slot) + slot->batch_count;
}

bool loan_can_take(const struct slot *slot, uint64_t now) {
    return slot->state == SLOT_READY && !slot->stuck && !slot->wants_write && slot->channel_fd >= 0 &&
           now >= slot->no_fds_until_ms && slot->batch_count < CHANNEL_LOANS_MAX &&
           untaken(slot) + slot->batch_count < LOANS_UNTAKEN_MAX && slot->outstanding < SEGMENT_LOANS;
}

/* Whether a worker other than this one could take a connection right now. */
static bool others_can_take(const struct slot *slot) {
    for (const struct slot *other = slot->pool->slots; other; other = other->next)
        if (other != slot && loan_can_take(other, now_ms(other))) return true;
    return false;
}

void loan_level(struct slot *slot) {
    uint64_t least = UINT64_MAX;
    for (struct slot *other = slot->pool->slots; other; other = other->next)
        if (other != slot && other->state == SLOT_READY && other->handed < least) least = other->handed;
    slot->handed = least == UINT64_MAX ? 0 : least;
}

/* ---- indices -------------------------------------------------------------------------------------------------- */

static bool add_indices(struct slot *slot) {
    uint32_t cap = slot->loans_cap ? slot->loans_cap * 2 : LOANS_FIRST_CAP;
    if (cap > SEGMENT_LOANS) return false;
    struct connection **loans = realloc(slot->loans, cap * sizeof(*loans));
    if (!loans) return false;
    slot->loans = loans;
    uint32_t *free_loans = realloc(slot->free_loans, cap * sizeof *free_loans);
    if (!free_loans) return false;
    slot->free_loans = free_loans;
    for (uint32_t i = cap; i-- > slot->loans_cap;) {
        slot->loans[i] = NULL;
        slot->free_loans[slot->free_count++] = i;
    }
    slot->loans_cap = cap;
    return true;
}

uint32_t loan_next_taken(const struct slot *slot, uint32_t from) {
    for (uint32_t loan = from; loan < slot->loans_cap; loan++)
        if (slot->loans[loan] == LOAN_TAKEN_MARK) return loan;
    return SEGMENT_LOANS;
}

int loan_adopt(struct slot *slot, uint32_t loan, struct connection *connection) {
    if (loan >= SEGMENT_LOANS) return UV_EINVAL;
    while (loan >= slot->loans_cap)
        if (!add_indices(slot)) return UV_ENOMEM;
    if (slot->loans[loan]) return UV_EINVAL;
    slot->loans[loan] = connection ? connection : LOAN_TAKEN_MARK;
    slot->outstanding++;
    if (!connection) return 0;
    connection->slot = slot;
    connection->loan = loan;
    connection->place = CONNECTION_LENT;
    return 0;
}

void loan_adopted(struct slot *slot) {
    slot->free_count = 0;
    for (uint32_t loan = slot->loans_cap; loan-- > 0;)
        if (!slot->loans[loan]) slot->free_loans[slot->free_count++] = loan;
}

static void free_index(struct slot *slot, uint32_t loan) {
    atomic_store_explicit(word_of(slot, loan), LOAN_FREE, memory_order_release);
    slot->loans[loan] = NULL;
    slot->free_loans[slot->free_count++] = loan;
    slot->outstanding--;
}

/* The connection is nobody's loan any more; in no list. */
static void detach(struct connection *connection) {
    lobby_unwatch(connection);
    connection->unowned = false;
    connection->slot = NULL;
    connection->place = CONNECTION_NEW;
}

/* ---- lending -------------------------------------------------------------------------------------------------- */

/* Descriptors are short: from here on the worker gets the only one. */
static bool short_of_descriptors(int fd) {
    static rlim_t limit;
    struct rlimit nofile;
    if (limit == 0) limit = getrlimit(RLIMIT_NOFILE, &nofile) == 0 ? nofile.rlim_cur : 1024;
    rlim_t reserve = limit / 8 < 64 ? limit / 8 : 64;
    return (rlim_t)fd >= limit - reserve;
}

bool loan_add(struct slot *slot, struct connection *connection) {
    if (slot->free_count == 0 && !add_indices(slot)) return false;
    uint32_t loan = slot->free_loans[--slot->free_count];
    struct channel_loan *entry = &slot->batch[slot->batch_count];
    /* The kernel has waited for a first byte, or the lobby for the next one. */
    bool spoken = connection->pool->clients_speak_first || connection->lent > 0;
    *entry = (struct channel_loan){.loan = loan, .lent = ++connection->lent, .port = connection->port};
    if (spoken) entry->flags |= CHANNEL_LOAN_SPOKEN;
    entry->written = connection->written;
    if (short_of_descriptors(connection->fd)) {
        entry->flags |= CHANNEL_LOAN_UNOWNED;
        connection->unowned = true;
        slot->has_unowned = true;
    }
    slot->batch_connections[slot->batch_count++] = connection;
    slot->loans[loan] = connection;
    slot->outstanding++;
    slot->handed++;
    connection->slot = slot;
    connection->loan = loan;
    connection->place = CONNECTION_LENT;
    atomic_store_explicit(word_of(slot, loan), LOAN_UNTOUCHED, memory_order_release);
    return true;
}

/* The batch stays with the master: in front of the others, in its old order. */
static void unlend_batch(struct slot *slot) {
    for (uint32_t i = slot->batch_count; i-- > 0;) {
        struct connection *connection = slot->batch_connections[i];
        free_index(slot, connection->loan);
        connection->lent--;
        detach(connection);
        lobby_wait(connection, CONNECTION_FIRST);
    }
    slot->handed -= slot->batch_count;
    slot->batch_count = 0;
}

/* Descriptors are short: the worker keeps the only one. Not before it has taken the packet, since a worker that is short
 * of descriptors itself gives the connection back. */
static void give_up_descriptors(struct slot *slot) {
    for (uint32_t loan = 0; loan < slot->loans_cap; loan++) {
        struct connection *connection = slot->loans[loan];
        if (!connection || connection == LOAN_TAKEN_MARK || !connection->unowned || connection->fd < 0) continue;
        lobby_unwatch(connection);
        close(connection->fd);
        connection->fd = -1;
    }
    slot->has_unowned = false;
}

/* The batch has been sent: one look at the clock for all of it. */
static void count_queue_time(struct slot *slot) {
    uint64_t now = uv_hrtime();
    for (uint32_t i = 0; i < slot->batch_count; i++) {
        struct connection *connection = slot->batch_connections[i];
        histogram_add(&slot->pool->queue_time, now - connection->waiting_since_ns);
        connection->waiting_since_ns = 0;
    }
}

int loan_flush(struct slot *slot) {
    static struct channel_message message;
    int fds[CHANNEL_LOANS_MAX];
    if (slot->batch_count == 0) return 0;
    message.head = (struct channel_head){
        .type = CHANNEL_LOANS,
        .count = (uint16_t)slot->batch_count,
        .len = slot->batch_count * (uint32_t)sizeof slot->batch[0],
    };
    memcpy(message.u.loans, slot->batch, message.head.len);
    for (uint32_t i = 0; i < slot->batch_count; i++) fds[i] = slot->batch_connections[i]->fd;
    int err = slot->channel_fd < 0 ? UV_EPIPE : channel_send(slot->channel_fd, &message, fds, slot->batch_count);
    if (err < 0) {
        /* EPIPE: its death is on the way to us. ETOOMANYREFS and the rest: another worker, or a little later. */
        if (err != UV_EAGAIN) slot->no_fds_until_ms = now_ms(slot) + 100;
        if (err != UV_EAGAIN && err != UV_EPIPE)
            log_write(CLUA_LOG_WARN, "cannot lend connections to worker %u: %s", slot->worker_id, uv_err_name(err));
        unlend_batch(slot);
        return err;
    }
    if (untaken(slot) == 0) slot->sent_at_ms = now_ms(slot);
    count_queue_time(slot);
    slot->sent += slot->batch_count;
    slot->batch_count = 0;
    return 0;
}

/* ---- completions ---------------------------------------------------------------------------------------------- */

static void complete(struct slot *slot, const struct completion *entry) {
    struct connection *connection = slot->loans[entry->loan];
    free_index(slot, entry->loan);
    if (connection == LOAN_TAKEN_MARK) return; /* whatever the worker says: it was not its own any more */
    detach(connection);
    switch ((enum completion_kind)entry->kind) {
    case COMPLETION_BACK:
        if (entry->aux) slot->no_fds_until_ms = now_ms(slot) + NO_FDS_PAUSE_MS;
        if (connection->fd >= 0) {
            lobby_wait(connection, CONNECTION_FIRST);
            return;
        }
        break;
    case COMPLETION_PARK:
        if (connection->fd >= 0) {
            connection->written = entry->written;
            lobby_park(connection, entry->aux);
            return;
        }
        break;
    case COMPLETION_DONE:
    case COMPLETION_DROP:
        break;
    }
    connection_free(connection); /* the worker has shut it down; a reset (SO_LINGER) happens at this close */
}

static bool read_ring(struct slot *slot) {
    struct completion entry;
    /* A worker may push while we read; one ring's length a turn keeps the master fair to the others. */
    for (int i = 0; i < SEGMENT_RING_ENTRIES; i++) {
        int n = segment_pop(slot->segment, &slot->ring_tail, &entry);
        if (n == 0) return true;
        if (n < 0 || entry.loan >= slot->loans_cap || !slot->loans[entry.loan] || entry.kind < COMPLETION_DONE ||
            entry.kind > COMPLETION_DROP)
            return false;
        complete(slot, &entry);
    }
    return true;
}

bool loan_collect(struct slot *slot) {
    /* Asked before the ring is read: what was given back of the packets that it has taken is then in the ring. */
    bool taken_all = slot->has_unowned && loan_has_taken_all(slot);
    if (!read_ring(slot)) return false;
    if (taken_all) give_up_descriptors(slot);
    return true;
}

/* What a dead worker's word means, with the kernel's own count where the word alone leaves it open. */
static uint32_t true_state(const struct slot *slot, uint32_t loan, const struct connection *connection) {
    uint32_t state = atomic_load_explicit(word_of(slot, loan), memory_order_acquire);
    if (state != LOAN_ANSWERED && state != LOAN_RESPONDING) return state;
    uint32_t written;
    if (!tcp_bytes_written(connection->fd, &written)) return LOAN_RESPONDING;
    if (state == LOAN_ANSWERED && written == atomic_load_explicit(&slot->segment->written[loan], memory_order_relaxed))
        return LOAN_IDLE;
    bool none = written == atomic_load_explicit(&slot->segment->begun[loan], memory_order_relaxed);
    return none ? LOAN_READING : LOAN_RESPONDING;
}

static void settle_one(struct slot *slot, uint32_t loan) {
    struct connection *connection = slot->loans[loan];
    struct pool *pool = slot->pool;
    if (connection == LOAN_TAKEN_MARK) {
        free_index(slot, loan);
        return;
    }
    uint32_t state = true_state(slot, loan, connection);
    free_index(slot, loan);
    detach(connection);
    if (connection->fd < 0) {
        if (state != LOAN_RETURNED) pool->broken++;
        connection_free(connection);
        return;
    }
    switch (state) {
    case LOAN_UNTOUCHED:
    case LOAN_BACK:
        lobby_wait(connection, CONNECTION_FIRST);
        break;
    case LOAN_IDLE:
    case LOAN_PARKED:
        tcp_bytes_written(connection->fd, &connection->written);
        lobby_park(connection, ORPHAN_KEEP_MS);
        break;
    case LOAN_READING:
        pool->lost++;
        lobby_farewell(connection, pool->options.lost, pool->options.lost_len);
        break;
    default: /* RESPONDING, HELD, RETURNED without an entry, or a word that is none: nothing can be added */
        if (state != LOAN_RETURNED) pool->broken++;
        lobby_end(connection);
    }
}

void loan_settle(struct slot *slot) {
    if (slot->batch_count > 0) unlend_batch(slot);
    loan_collect(slot); /* what it completed before it died is completed */
    for (uint32_t loan = 0; loan < slot->loans_cap && slot->outstanding > 0; loan++)
        if (slot->loans[loan]) settle_one(slot, loan);
}

/* ---- a stuck worker ------------------------------------------------------------------------------------------- */

static void send_recalled(struct slot *slot) {
    struct channel_message message;
    if (slot->recalled_count == 0) return;
    message.head = (struct channel_head){
        .type = CHANNEL_RECALL,
        .count = (uint16_t)slot->recalled_count,
        .len = slot->recalled_count * (uint32_t)sizeof slot->recalled[0],
    };
    memcpy(message.u.recalled, slot->recalled, message.head.len);
    /* Only a courtesy: the worker also finds out when the connection wakes it, or when it first uses it. */
    slot_send(slot, &message);
    slot->recalled_count = 0;
}

static bool take_back(struct slot *slot, struct connection *connection, enum loan_state from) {
    uint32_t loan = connection->loan;
    if (!loan_swap(word_of(slot, loan), from, LOAN_TAKEN)) return false;
    slot->loans[loan] = LOAN_TAKEN_MARK;
    if (slot->recalled_count == CHANNEL_LOANS_MAX) send_recalled(slot);
    slot->recalled[slot->recalled_count++] = loan;
    slot->pool->stolen++;
    detach(connection);
    if (from == LOAN_IDLE) tcp_bytes_written(connection->fd, &connection->written);
    lobby_wait(connection, CONNECTION_FIRST);
    return true;
}

void loan_rescue(struct slot *slot) {
    if (!others_can_take(slot)) return;
    for (int i = 0; i < RESCUE_PER_CHECK && slot->rescue_at < slot->loans_cap; i++) {
        struct connection *connection = slot->loans[slot->rescue_at++];
        if (!connection || connection == LOAN_TAKEN_MARK || connection->fd < 0) continue;
        switch (atomic_load_explicit(word_of(slot, connection->loan), memory_order_relaxed)) {
        case LOAN_UNTOUCHED:
            take_back(slot, connection, LOAN_UNTOUCHED);
            break;
        case LOAN_IDLE:
            lobby_watch_lent(connection);
            break;
        default:
            break;
        }
    }
    send_recalled(slot);
}

void loan_release_watches(struct slot *slot) {
    for (uint32_t loan = 0; loan < slot->rescue_at; loan++)
        if (slot->loans[loan] && slot->loans[loan] != LOAN_TAKEN_MARK) lobby_unwatch(slot->loans[loan]);
    slot->rescue_at = 0;
}

void loan_readable(struct connection *connection) {
    struct slot *slot = connection->slot;
    if (!slot->stuck) return;
    if (!others_can_take(slot)) {
        if (connection->loan < slot->rescue_at) slot->rescue_at = connection->loan; /* look again on the next check */
        return;
    }
    take_back(slot, connection, LOAN_IDLE);
    send_recalled(slot);
}
