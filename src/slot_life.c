/* MASTER. See slot_life.h. Owns the channel, the segment and the record of each worker process. */
#include "slot_life.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "capture.h"
#include "launch.h"
#include "listener.h"
#include "loan.h"
#include "log.h"
#include "pool.h"
#include "shared.h"

enum { EXIT_GRACE_MS = 2000, KILL_GRACE_MS = 10000, TERM_GRACE_MS = 1000, PACKETS_PER_TURN = 16 };

static const struct slot_hooks *hooks;
static uint32_t last_serial;

/* ---- carrying out --------------------------------------------------------------------------------------------- */

static uint64_t now_ms(const struct slot *slot) {
    return uv_now(slot->channel.loop);
}

static void set_deadline(struct slot *slot, enum slot_deadline deadline, bool moved) {
    if (!moved && slot->deadline_ms) return; /* staying in a state does not prolong it */
    uint64_t after = 0;
    switch (deadline) {
    case SLOT_NO_DEADLINE:
        slot->deadline_ms = 0;
        return;
    case SLOT_READY_DEADLINE:
        after = slot->pool->options.ready_timeout_ms;
        break;
    case SLOT_TERM_DEADLINE:
        after = (uint64_t)slot->term_timeout_ms + TERM_GRACE_MS;
        break;
    case SLOT_EXIT_DEADLINE:
        after = EXIT_GRACE_MS;
        break;
    case SLOT_KILL_DEADLINE:
        after = KILL_GRACE_MS;
        break;
    }
    slot->deadline_ms = now_ms(slot) + after;
}

static void warn(const struct slot *slot, const char *text) {
    log_write(CLUA_LOG_WARN, "worker %u of %s, pid %d, %s", slot->worker_id, slot->pool->options.name, (int)slot->pid,
              text);
}

static void slot_free(struct slot *slot) {
    free(slot->loans);
    free(slot->free_loans);
    free(slot);
}

static void channel_closed(uv_handle_t *handle) {
    struct slot *slot = (struct slot *)((char *)handle - offsetof(struct slot, channel));
    slot->handle_closed = true;
    if (slot->swept) slot_free(slot);
}

/* The handle goes before its descriptor: uv_close still removes the number from epoll, and by then the number could be
 * the channel of a new worker. */
static void close_channel(struct slot *slot) {
    if (slot->channel_fd < 0) return;
    uv_close((uv_handle_t *)&slot->channel, channel_closed);
    close(slot->channel_fd);
    slot->channel_fd = -1;
}

/* Those of the pool that are ready, for their bulkhead: told to the workers. */
static void publish_ready(struct pool *pool) {
    uint64_t ready = 0;
    for (const struct slot *slot = pool->slots; slot; slot = slot->next)
        if (slot->state == SLOT_READY && slot->place < BULKHEAD_PLACES) ready |= (uint64_t)1 << slot->place;
    atomic_store(&pool->shared->bulkhead.ready, ready);
}

void slot_step(struct slot *slot, enum slot_event event) {
    enum slot_state before = slot->state;
    struct slot_verdict verdict = slot_decide(before, event);
    if (verdict.actions & SLOT_DO_BUG) {
        log_write(CLUA_LOG_ERROR, "bug: slot of worker %u is %s and cannot take event %d", slot->worker_id,
                  slot_state_name(before), (int)event);
        return;
    }
    slot->state = verdict.state;
    if (slot->state != before) publish_ready(slot->pool);
    set_deadline(slot, verdict.deadline, verdict.state != before || event == SLOT_EVENT_EXPIRE);
    if (verdict.actions & SLOT_DO_WARN_READY) slot->killed_for = "ready_timeout";
    if (verdict.actions & SLOT_DO_WARN_DRAIN) slot->killed_for = "term_timeout";
    if (verdict.actions & SLOT_DO_WARN_READY) warn(slot, "did not become ready in time: killing it");
    if (verdict.actions & SLOT_DO_WARN_DRAIN) warn(slot, "did not finish in time: killing it");
    if (verdict.actions & SLOT_DO_WARN_ALIVE) warn(slot, "is still there after SIGKILL");
    if (verdict.actions & SLOT_DO_KILL) kill(slot->pid, SIGKILL);
    if (verdict.actions & SLOT_DO_SEND_DRAIN) {
        slot->drain_unsent = true;
        slot_want_write(slot);
    }
    if (verdict.actions & SLOT_DO_TELL_READY) {
        slot->ready_at_ms = slot->idle_since_ms = now_ms(slot);
        loan_level(slot);
        hooks->on_ready(slot);
    }
    if (verdict.actions & SLOT_DO_CLOSE) {
        loan_settle(slot);
        totals_take(slot);
        close_channel(slot);
        if (slot->capture) capture_last_words(slot->capture);
        bulkhead_leave(&slot->pool->shared->bulkhead, slot->place);
        hooks->on_gone(slot);
    }
}

/* ---- packets of the worker ------------------------------------------------------------------------------------ */

void slot_broke_protocol(struct slot *slot, const char *how) {
    log_write(CLUA_LOG_ERROR, "worker %u of %s, pid %d, %s: killing it", slot->worker_id, slot->pool->options.name,
              (int)slot->pid, how);
    slot->killed_for = "protocol";
    slot_step(slot, SLOT_EVENT_KILL);
}

static void handle_packet(struct slot *slot, const struct channel_message *message) {
    enum { TERM_TIMEOUT_MAX_MS = 3600 * 1000 };
    switch ((enum channel_type)message->head.type) {
    case CHANNEL_READY:
        if (message->u.ready.term_timeout_ms <= TERM_TIMEOUT_MAX_MS)
            slot->term_timeout_ms = message->u.ready.term_timeout_ms;
        slot_step(slot, SLOT_EVENT_READY);
        break;
    case CHANNEL_DOORBELL: /* the turn that this wakes reads every ring */
        slot->announced = atomic_load_explicit(&slot->segment->figures.slow, memory_order_relaxed) != 0;
        break;
    case CHANNEL_FIRST:
        listener_clients_speak_first(slot->pool);
        break;
    case CHANNEL_LEAVE:
        if (message->u.leave.reason == LEAVE_TERM) slot_step(slot, SLOT_EVENT_LEAVE);
        hooks->on_leave(slot, message->u.leave.reason);
        break;
    case CHANNEL_BROADCAST: {
        size_t name_len = message->u.broadcast.name_len;
        hooks->on_broadcast(slot, message->u.broadcast.pid, message->u.broadcast.bytes, name_len,
                            message->u.broadcast.bytes + name_len, message->head.len - 8 - name_len);
        break;
    }
    case CHANNEL_ASK:
        hooks->on_ask(slot, message->u.ask.what);
        break;
    case CHANNEL_ANSWER:
    case CHANNEL_LOANS:
    case CHANNEL_RECALL:
    case CHANNEL_DRAIN:
    case CHANNEL_DELIVER:
    case CHANNEL_EVALUATE:
    case CHANNEL_SETTINGS:
    case CHANNEL_LOGS:
    case CHANNEL_QUARANTINE:
        slot_broke_protocol(slot, "broke the protocol (packet for the other side)");
        break;
    }
}

static void channel_event(uv_poll_t *handle, int status, int events);

static void watch_channel(struct slot *slot) {
    int events = UV_READABLE | (slot->wants_write ? UV_WRITABLE : 0);
    uv_poll_start(&slot->channel, events, channel_event);
}

void slot_want_write(struct slot *slot) {
    if (slot->wants_write || slot->channel_fd < 0) return;
    slot->wants_write = true;
    watch_channel(slot);
}

/* False: the channel is full. */
static bool send_settings(struct slot *slot) {
    static struct channel_message settings;
    settings.head = (struct channel_head){.type = CHANNEL_SETTINGS, .len = sizeof settings.u.settings};
    settings.u.settings.log_level = (uint32_t)log_level_get();
    slot->settings_unsent = slot_send(slot, &settings) == UV_EAGAIN;
    return !slot->settings_unsent;
}

static bool send_logs(struct slot *slot) {
    static struct channel_message logs;
    int access_fd = slot->pool->access_fd, fds[] = {STDERR_FILENO, access_fd};
    logs.head = (struct channel_head){.type = CHANNEL_LOGS, .len = sizeof logs.u.logs};
    logs.u.logs.which = CHANNEL_LOG_ERROR | (access_fd < 0 ? 0 : CHANNEL_LOG_ACCESS);
    int err = slot->channel_fd < 0 ? UV_EPIPE : channel_send(slot->channel_fd, &logs, fds, access_fd < 0 ? 1 : 2);
    slot->logs_unsent = err == UV_EAGAIN;
    if (err < 0 && err != UV_EAGAIN && err != UV_EPIPE)
        warn(slot, "cannot be given the log files that were opened anew");
    return !slot->logs_unsent;
}

static void flush_control(struct slot *slot) {
    static const struct channel_message drain = {.head = {.type = CHANNEL_DRAIN}};
    slot->wants_write = false;
    watch_channel(slot);
    if ((slot->settings_unsent && !send_settings(slot)) || (slot->logs_unsent && !send_logs(slot))) {
        slot_want_write(slot);
        return;
    }
    if (slot->drain_unsent && slot->batch_count == 0) {
        int err = slot_send(slot, &drain);
        if (err == UV_EAGAIN) {
            slot_want_write(slot);
            return;
        }
        slot->drain_unsent = false;
    }
}

static void channel_event(uv_poll_t *handle, int status, int events) {
    static struct channel_message message;
    struct slot *slot = (struct slot *)((char *)handle - offsetof(struct slot, channel));
    if (events & UV_WRITABLE) flush_control(slot);
    for (int i = 0; i < PACKETS_PER_TURN && slot->channel_fd >= 0; i++) {
        int fds[CHANNEL_LOANS_MAX];
        size_t fd_count = 0;
        int n = status < 0 ? UV_EOF : channel_receive(slot->channel_fd, &message, fds, &fd_count);
        if (n == 0) return;
        if (n == UV_EPROTO || fd_count > 0) {
            for (size_t k = 0; k < fd_count; k++) close(fds[k]);
            slot_broke_protocol(slot, "broke the protocol (malformed packet)");
            close_channel(slot);
            return;
        }
        if (n < 0) { /* the end, or an error that is no better */
            close_channel(slot);
            slot_step(slot, SLOT_EVENT_HANGUP);
            return;
        }
        handle_packet(slot, &message);
    }
}

/* ---- start and end -------------------------------------------------------------------------------------------- */

void slot_set_hooks(const struct slot_hooks *given) {
    hooks = given;
}

static void add_slot(struct slot *slot) {
    slot->serial = ++last_serial;
    slot->next = slot->pool->slots;
    slot->pool->slots = slot;
    if (slot->channel_fd >= 0) watch_channel(slot);
}

int slot_adopt(uv_loop_t *loop, struct pool *pool, const struct slot *known, struct slot **out) {
    struct slot *slot = calloc(1, sizeof *slot);
    if (!slot) return UV_ENOMEM;
    *slot = *known;
    slot->pool = pool;
    int err =
        totals_reserve(&pool->totals, slot->worker_id) ? segment_map(slot->segment_fd, &slot->segment) : UV_ENOMEM;
    slot->channel.loop = loop; /* its clock, also when the channel has ended already */
    slot->handle_closed = slot->channel_fd < 0;
    if (err == 0 && slot->channel_fd >= 0) err = uv_poll_init(loop, &slot->channel, slot->channel_fd);
    if (err < 0) {
        if (slot->segment) segment_unmap(slot->segment);
        free(slot);
        return err;
    }
    fcntl(slot->segment_fd, F_SETFD, FD_CLOEXEC);
    if (slot->channel_fd >= 0) fcntl(slot->channel_fd, F_SETFD, FD_CLOEXEC);
    add_slot(slot);
    *out = slot;
    return 0;
}

/* A place in the pool's bulkhead that no worker has; BULKHEAD_PLACES when there are more workers than places. */
static uint32_t free_place(const struct pool *pool) {
    uint64_t taken = 0;
    for (const struct slot *slot = pool->slots; slot; slot = slot->next)
        if (slot->state != SLOT_GONE && slot->place < BULKHEAD_PLACES) taken |= (uint64_t)1 << slot->place;
    return taken == UINT64_MAX ? BULKHEAD_PLACES : (uint32_t)__builtin_ctzll(~taken);
}

static void slot_role(const struct slot *slot, char *role, size_t size) {
    snprintf(role, size, "worker %u of %s", slot->worker_id, slot->pool->options.name);
}

int slot_start(uv_loop_t *loop, struct pool *pool, uint32_t worker_id, struct slot **out) {
    char role[320];
    int worker_fd = -1, output[2], err;
    struct slot *slot = calloc(1, sizeof *slot);
    if (!slot) return UV_ENOMEM;
    if (!totals_reserve(&pool->totals, worker_id)) {
        free(slot);
        return UV_ENOMEM;
    }
    slot->pool = pool;
    slot->worker_id = worker_id;
    slot->term_timeout_ms = pool->options.term_timeout_ms;
    err = channel_pair(&slot->channel_fd, &worker_fd);
    if (err < 0) goto no_channel;
    err = segment_create(&slot->segment, &slot->segment_fd);
    if (err < 0) goto no_segment;
    err = pool_share(pool);
    if (err < 0) goto no_pipe;
    slot->place = free_place(pool);
    err = capture_pipe(output);
    if (err < 0) goto no_pipe;
    err = uv_poll_init(loop, &slot->channel, slot->channel_fd);
    if (err < 0) goto no_poll;
    launch_fill_boot(&slot->segment->boot, pool, worker_id, ++pool->generation);
    slot->segment->boot.place = slot->place;
    const struct launch_fds fds = {worker_fd, slot->segment_fd, pool->shared_fd,
                                   output[1], pool->access_fd,  pool->options.inherits_output};
    err = launch_worker(&fds, &slot->pid);
    if (err < 0) goto no_process;
    close(worker_fd);
    close(output[1]);
    slot_role(slot, role, sizeof role);
    err = capture_open(loop, output[0], role, slot->pid, &slot->capture);
    if (err < 0) warn(slot, "cannot be heard: what it writes to its standard output and error is lost");
    slot->state = SLOT_STARTING;
    slot->started_at_ms = uv_now(loop);
    slot->deadline_ms = slot->started_at_ms + pool->options.ready_timeout_ms;
    add_slot(slot);
    *out = slot;
    return 0;

no_process:
    slot->swept = true;
    close_channel(slot);
    close(output[0]);
    close(output[1]);
    close(worker_fd);
    close(slot->segment_fd);
    segment_unmap(slot->segment);
    return err;
no_poll:
    close(output[0]);
    close(output[1]);
no_pipe:
    segment_unmap(slot->segment);
    close(slot->segment_fd);
no_segment:
    close(slot->channel_fd);
    close(worker_fd);
no_channel:
    free(slot);
    return err;
}

void slot_sweep(struct pool *pool) {
    struct slot **at = &pool->slots;
    while (*at) {
        struct slot *slot = *at;
        if (slot->state != SLOT_GONE) {
            at = &slot->next;
            continue;
        }
        *at = slot->next;
        segment_unmap(slot->segment);
        close(slot->segment_fd);
        slot->segment = NULL;
        slot->swept = true;
        if (slot->handle_closed) slot_free(slot);
    }
}

void slot_settings_changed(void) {
    for (struct pool *pool = pool_first(); pool; pool = pool->next) {
        for (struct slot *slot = pool->slots; slot; slot = slot->next) {
            slot->settings_unsent = true;
            slot_want_write(slot);
        }
    }
}

void slot_logs_changed(void) {
    for (struct pool *pool = pool_first(); pool; pool = pool->next) {
        for (struct slot *slot = pool->slots; slot; slot = slot->next) {
            slot->logs_unsent = true;
            slot_want_write(slot);
        }
    }
}
