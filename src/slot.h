/* MASTER. A slot: the master's record of one worker process, from fork to reaping.
 *
 * The life of a slot is one function, slot_step(slot, event): it asks slot_decide() (slot_state.h), and it alone writes
 * `state`, sets the deadline, and tells the policy (Lua) what has happened. */
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
    bool stuck;         /* its loop does not come back; see loan_rescue */
    uint32_t rescue_at; /* next loan index that the rescue looks at */
    uint32_t last_tick;
    uint32_t still_checks; /* checks in a row that saw the same tick */
};

/* Tells the policy. serial names the slot. */
struct slot_hooks {
    void (*on_ready)(struct slot *slot);
    void (*on_gone)(struct slot *slot);
    void (*on_leave)(struct slot *slot, uint32_t reason);
    void (*on_ask)(struct slot *slot, uint32_t what);
    void (*on_broadcast)(struct slot *slot, uint32_t pid, const char *name, size_t name_len, const char *bytes,
                         size_t len);
};
void slot_set_hooks(const struct slot_hooks *hooks);

/* Forks and execs a worker for this position. 0 with *out, or UV_E*: nothing is left behind then. */
int slot_start(uv_loop_t *loop, struct pool *pool, uint32_t worker_id, struct slot **out);

/* A worker of the master before the upgrade. The caller has filled in worker_id, pid, state, channel_fd, segment_fd,
 * ring_tail, sent, handed, term_timeout_ms, started_at_ms, ready_at_ms; it goes on as if nothing had happened. */
int slot_adopt(uv_loop_t *loop, struct pool *pool, const struct slot *known, struct slot **out);

/* Feeds an event. */
void slot_step(struct slot *slot, enum slot_event event);

/* The slot of a process or of a serial, or NULL. */
struct slot *slot_of_pid(pid_t pid);
struct slot *slot_of_serial(uint32_t serial);

/* Sends a control packet. 0 or UV_E* (UV_EAGAIN: the channel is full). */
int slot_send(struct slot *slot, const struct channel_message *message);

/* The channel became full: wait until it can be written, then what is unsent and loans go on. */
void slot_want_write(struct slot *slot);

/* The log level has changed: every worker is told. */
void slot_settings_changed(void);

/* Log files were opened anew: every worker gets their descriptors. */
void slot_logs_changed(void);

/* Frees what is GONE. Called once a turn, when nothing holds a slot. */
void slot_sweep(struct pool *pool);

#endif
