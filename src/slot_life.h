/* MASTER. The life of a slot is one function, slot_step(slot, event): it asks slot_decide() (slot_state.h), and it alone
 * writes `state`, sets the deadline, and tells the policy (Lua) what has happened. */
#ifndef CLUA_SLOT_LIFE_H
#define CLUA_SLOT_LIFE_H

#include "slot.h"

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

/* The worker has said what none may say: logs how, kills it. */
void slot_broke_protocol(struct slot *slot, const char *how);

/* The channel became full: wait until it can be written, then what is unsent and loans go on. */
void slot_want_write(struct slot *slot);

/* The log level has changed: every worker is told. */
void slot_settings_changed(void);

/* Log files were opened anew: every worker gets their descriptors. */
void slot_logs_changed(void);

/* Frees what is GONE. Called once a turn, when nothing holds a slot. */
void slot_sweep(struct pool *pool);

#endif
