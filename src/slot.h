/* MASTER. A slot: the master's record of one worker process, from fork to reaping. Its life is in slot_life.h, what it has
 * on loan in loan.h. */
#ifndef CLUA_SLOT_H
#define CLUA_SLOT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "channel.h"
#include "connection.h"
#include "segment.h"
#include "slot_state.h"
#include "stuck.h"

struct pool;

struct slot {
    struct slot *next; /* the pool's list */
    struct pool *pool;
    uint32_t worker_id;
    uint32_t place;  /* in the pool's bulkhead */
    uint32_t serial; /* names this slot to the policy; never used again */
    pid_t pid;
    enum slot_state state;
    uint64_t deadline_ms; /* 0: none */
    uint64_t started_at_ms, ready_at_ms;
    uint64_t idle_since_ms; /* kept up where workers are started on demand */
    uint32_t term_timeout_ms;
    int wait_status; /* of waitpid, in GONE */

    struct segment *segment;
    uint32_t ring_tail;
    int channel_fd;
    int segment_fd; /* kept for an upgrade, which maps it again */
    uv_poll_t channel;
    struct capture *capture; /* what it prints; NULL: nobody can write there any more */
    bool drain_unsent, settings_unsent, logs_unsent, wants_write;
    bool asked_for_traceback, hung;
    const char *killed_for;    /* why the master has killed it, where it was not told to */
    bool swept, handle_closed; /* freed when both are true */
    bool has_unowned;          /* lent connections whose descriptor the master gives up once they are taken */

    struct connection **loans; /* by loan index: the connection, NULL, or LOAN_TAKEN_MARK */
    uint32_t *free_loans;
    uint32_t loans_cap, free_count, outstanding;
    struct channel_loan batch[CHANNEL_LOANS_MAX]; /* to be sent at the end of this turn */
    struct connection *batch_connections[CHANNEL_LOANS_MAX];
    uint32_t batch_count;
    uint32_t sent;       /* loans ever sent; the segment says how many were taken */
    uint64_t sent_at_ms; /* of the oldest that may be untaken */
    uint64_t handed;     /* loans ever handed, levelled between the workers of a pool */
    uint64_t no_fds_until_ms;
    uint32_t recalled[CHANNEL_LOANS_MAX];
    uint32_t recalled_count;

    bool announced;     /* says that its loop will not come back soon */
    struct stuck turn;  /* the turn of its loop that the watch looks at */
    bool stuck;         /* its loop does not come back; see loan_rescue */
    uint32_t rescue_at; /* next loan index that the rescue looks at */
    uint32_t last_tick;
    uint32_t still_checks; /* checks in a row that saw the same tick */
};

/* The slot of a process or of a serial, or NULL. */
struct slot *slot_of_pid(pid_t pid);
struct slot *slot_of_serial(uint32_t serial);

/* Sends a control packet. 0 or UV_E* (UV_EAGAIN: the channel is full). */
int slot_send(struct slot *slot, const struct channel_message *message);

#endif
