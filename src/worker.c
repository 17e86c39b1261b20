/* WORKER. The life of a worker: takes loans from the channel, publishes its figures, drains and exits.
 *
 * Owns the inherited channel (descriptor 3) and the segment (4). The end of the channel means that the master is gone:
 * the worker finishes what it executes and exits; should its loop be stuck then, PDEATHSIG arms an alarm that ends it.
 *
 *     running --DRAIN | SIGTERM | channel ends--> draining --no stream, nothing remains | term timeout--> exit 0 */
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer.h"
#include "blame.h"
#include "borrow.h"
#include "channel.h"
#include "hold.h"
#include "http_access.h"
#include "log.h"
#include "privilege.h"
#include "process.h"
#include "quarantine.h"
#include "shared.h"

enum { PACKETS_PER_TURN = 8, SAMPLE_INTERVAL_MS = 1000, RETRY_MS = 2, LOG_RETRY_MS = 20 };
enum { LUCK_MAX = 8, TRY_EVERY = 32 }; /* see expects_bytes() */

static const struct worker_hooks no_hooks;

static struct {
    uv_loop_t *loop;
    struct segment *segment;
    const struct worker_hooks *hooks;
    uv_poll_t channel;
    uv_prepare_t before_poll;
    uv_check_t after_poll;
    uv_signal_t sigterm;
    uv_timer_t term_timer, retry_timer, heartbeat;
    struct channel_message message, outgoing; /* the packets being read and written */
    uint64_t sampled_at;
    uint32_t longest_turn_ms, term_timeout_ms;
    unsigned luck;           /* of late, first bytes were there at once: 0 (no) to LUCK_MAX */
    unsigned asked_to_leave; /* a bit for each enum leave_reason */
    bool is_worker, ready, draining, orphan, told_first;
} worker = {.hooks = &no_hooks};

bool worker_is_one(void) {
    return worker.is_worker;
}

const struct boot *worker_boot(void) {
    return worker.is_worker ? &worker.segment->boot : NULL;
}

bool worker_draining(void) {
    return worker.draining;
}

uint32_t worker_linger_ms(void) {
    return worker.is_worker ? worker.segment->boot.linger_ms : 0;
}

struct figures *worker_figures(void) {
    return borrow_figures();
}

static int send_packet(enum channel_type type, uint32_t len) {
    if (worker.orphan) return UV_EPIPE;
    worker.outgoing.head = (struct channel_head){.type = (uint16_t)type, .len = len};
    return channel_send(CHANNEL_FD, &worker.outgoing, NULL, 0);
}

/* A full channel holds packets that wake the master as well as this one would. */
static void ring_doorbell(void) {
    send_packet(CHANNEL_DOORBELL, 0);
}

/* ---- draining ------------------------------------------------------------------------------------------------- */

static void recall(struct stream *stream, void *data) {
    (void)data;
    if (stream->hooks->on_recall) stream->hooks->on_recall(stream);
}

static void force_close(struct stream *stream, void *data) {
    (void)data;
    stream_close(stream);
}

static void term_timed_out(uv_timer_t *timer) {
    (void)timer;
    log_write(CLUA_LOG_WARN, "did not finish within %.3g s: closing %zu connections", worker.term_timeout_ms / 1000.0,
              stream_count());
    stream_each(force_close, NULL);
    atomic_store_explicit(&borrow_figures()->remain, 0, memory_order_relaxed);
}

static void drain(void) {
    if (worker.draining) return;
    worker.draining = true;
    if (worker.hooks->on_drain) worker.hooks->on_drain();
    stream_each(recall, NULL);
    uv_timer_start(&worker.term_timer, term_timed_out, worker.term_timeout_ms, 0);
}

/* Each reason once: that it drains by itself (TERM) is news also after it has asked to be replaced. */
static void ask_to_leave(enum leave_reason reason) {
    if ((worker.asked_to_leave & 1U << reason) || !worker.ready) return;
    worker.outgoing.u.leave.reason = reason;
    if (send_packet(CHANNEL_LEAVE, sizeof worker.outgoing.u.leave) == 0) worker.asked_to_leave |= 1U << reason;
}

void worker_leave(void) {
    ask_to_leave(LEAVE_TERM);
    drain();
}

static void terminated(uv_signal_t *handle, int signum) {
    (void)handle, (void)signum;
    worker_leave();
}

static void exit_when_finished(void) {
    if (stream_count() > 0) return;
    if (atomic_load_explicit(&borrow_figures()->remain, memory_order_relaxed) > 0) return;
    if (!borrow_flush() && !worker.orphan) return;
    if (worker.hooks->on_exit) worker.hooks->on_exit();
    exit(0);
}

/* ---- packets -------------------------------------------------------------------------------------------------- */

/* Descriptors missing from the packet (see channel_receive): the master keeps its own and lends elsewhere. */
static void return_loan(const struct channel_loan *loan) {
    borrow_complete(loan->loan, COMPLETION_BACK, 1, loan->written, true);
}

/* Only connections of unix sockets come without a port. */
static int open_loan(const struct channel_loan *loan, int fd, struct stream **stream) {
    return stream_open_unattached(worker.loop, fd, loan->port != 0 ? AF_INET : AF_UNSPEC, stream);
}

/* Is the client's first byte here already? SPOKEN says so; of the others the last ones tell, since it depends on how far
 * away clients are. A read in vain is cheaper than the three calls around one for which the loop has waited. */
static bool expects_bytes(const struct channel_loan *loan) {
    static unsigned since_tried;
    if ((loan->flags & CHANNEL_LOAN_SPOKEN) || worker.luck > 0) return true;
    since_tried = (since_tried + 1) % TRY_EVERY;
    return since_tried == 0;
}

/* Acts on what is there already: a short exchange is over before the loop has heard of the descriptor. */
static void begin_loan(const struct channel_loan *loan) {
    struct stream *stream = stream_of_loan(loan->loan);
    if (!stream) return;
    if (stream->reading && expects_bytes(loan)) {
        bool lucky = stream_read_now(stream);
        if (lucky && worker.luck < LUCK_MAX) worker.luck++;
        if (!lucky && worker.luck > 0) worker.luck--;
    }
    int err = stream_attach(stream); /* one that has ended is freed later, by the loop */
    if (err == 0) return;
    log_write(CLUA_LOG_WARN, "cannot watch a connection: %s", uv_strerror(err));
    stream_close(stream);
}

static void take_loan(const struct channel_loan *loan, int fd) {
    struct stream *stream;
    if (atomic_load(borrow_word(loan->loan)) == LOAN_TAKEN) { /* taken back while the packet was on its way */
        close(fd);
        borrow_complete(loan->loan, COMPLETION_DROP, 0, loan->written, true);
        return;
    }
    int err = worker.draining ? UV_ECANCELED : open_loan(loan, fd, &stream);
    if (err < 0) {
        close(fd);
        return_loan(loan);
        if (!worker.draining) log_write(CLUA_LOG_WARN, "cannot take a connection: %s", uv_strerror(err));
        return;
    }
    stream_borrow(stream, loan);
    worker.hooks->on_loan(stream);
}

static void take_loans(const struct channel_message *message, const int *fds, size_t fd_count) {
    const struct channel_loan *loans = message->u.loans;
    size_t count = message->head.count;
    if (fd_count < count)
        log_write(CLUA_LOG_WARN, "out of descriptors: %zu of %zu connections given back", count - fd_count, count);
    for (size_t i = fd_count; i < count; i++) return_loan(&loans[i]);
    /* After the returns: once all is taken the master may close its copies of connections that it cannot keep. */
    atomic_fetch_add_explicit(&borrow_figures()->loans_taken, (uint32_t)count, memory_order_release);
    borrow_notify(WANT_TAKEN);
    for (size_t i = 0; i < fd_count; i++) take_loan(&loans[i], fds[i]);
    for (size_t i = 0; i < fd_count; i++) begin_loan(&loans[i]);
}

static void drop_recalled(const struct channel_message *message) {
    for (size_t i = 0; i < message->head.count; i++) {
        struct stream *stream = stream_of_loan(message->u.recalled[i]);
        if (stream) stream_drop_taken(stream);
    }
}

static void quarantine(const struct channel_message *message) {
    size_t kept = message->u.quarantine.kept;
    const char *bytes = message->u.quarantine.bytes;
    quarantine_add(bytes, kept, message->u.quarantine.line_len, bytes + kept, message->head.len - 12 - kept,
                   uv_now(worker.loop) + message->u.quarantine.ms);
}

static void take_answer(uint32_t what, int fd) {
    char *bytes = NULL;
    size_t len = 0;
    int err = fd < 0 ? UV_EMFILE : answer_read(fd, &bytes, &len);
    if (err < 0) log_write(CLUA_LOG_WARN, "cannot read an answer of the master: %s", uv_strerror(err));
    if (worker.hooks->on_answer) worker.hooks->on_answer(what, bytes, len);
    free(bytes);
}

static void master_is_gone(void) {
    worker.orphan = true;
    uv_poll_stop(&worker.channel);
    log_end_capture();
    log_write(CLUA_LOG_WARN, "the master is gone: finishing");
    drain();
}

static void take_logs(uint32_t which, const int *fds, size_t fd_count) {
    size_t next = 0;
    if (fd_count < (size_t)((which & CHANNEL_LOG_ERROR) != 0) + (size_t)((which & CHANNEL_LOG_ACCESS) != 0)) {
        log_write(CLUA_LOG_ERROR, "out of descriptors: goes on with the log files that it has");
        for (size_t i = 0; i < fd_count; i++) close(fds[i]);
        return;
    }
    if (which & CHANNEL_LOG_ERROR) log_reopened(fds[next++]);
    if (which & CHANNEL_LOG_ACCESS) http_access_reopen(fds[next++]);
}

static void handle_packet(const int *fds, size_t fd_count) {
    const struct channel_message *message = &worker.message;
    switch ((enum channel_type)message->head.type) {
    case CHANNEL_LOANS:
        take_loans(message, fds, fd_count);
        break;
    case CHANNEL_RECALL:
        drop_recalled(message);
        break;
    case CHANNEL_DRAIN:
        drain();
        break;
    case CHANNEL_DELIVER:
        if (worker.hooks->on_message) worker.hooks->on_message(message->u.bytes, message->head.len);
        break;
    case CHANNEL_EVALUATE:
        if (worker.hooks->on_evaluate) worker.hooks->on_evaluate(message->u.bytes, message->head.len);
        break;
    case CHANNEL_SETTINGS:
        log_set_level((enum log_level)message->u.settings.log_level);
        break;
    case CHANNEL_QUARANTINE:
        quarantine(message);
        break;
    case CHANNEL_LOGS:
        take_logs(message->u.logs.which, fds, fd_count);
        break;
    case CHANNEL_ANSWER:
        take_answer(message->u.ask.what, fd_count > 0 ? fds[0] : -1);
        break;
    case CHANNEL_ASK:
    case CHANNEL_READY:
    case CHANNEL_DOORBELL:
    case CHANNEL_FIRST:
    case CHANNEL_LEAVE:
    case CHANNEL_BROADCAST:
        log_write(CLUA_LOG_ERROR, "packet of type %u is not for a worker", message->head.type);
        break;
    }
}

static void channel_readable(uv_poll_t *handle, int status, int events) {
    (void)handle, (void)events;
    borrow_busy(uv_now(worker.loop));
    if (status < 0) {
        master_is_gone();
        return;
    }
    for (int i = 0; i < PACKETS_PER_TURN; i++) {
        int fds[CHANNEL_LOANS_MAX];
        size_t fd_count;
        int n = channel_receive(CHANNEL_FD, &worker.message, fds, &fd_count);
        if (n == 0) return;
        if (n == UV_EOF) {
            master_is_gone();
            return;
        }
        if (n < 0) {
            log_write(CLUA_LOG_ERROR, "cannot read the channel: %s", uv_strerror(n));
            return;
        }
        handle_packet(fds, fd_count);
    }
}

/* ---- the turn of the loop ------------------------------------------------------------------------------------- */

static void sample(uint64_t now) {
    struct figures *figures = borrow_figures();
    uint64_t rss = process_rss_bytes();
    atomic_store_explicit(&figures->rss_bytes, rss, memory_order_relaxed);
    atomic_store_explicit(&figures->cpu_us, process_cpu_us(), memory_order_relaxed);
    if (worker.hooks->heap_bytes)
        atomic_store_explicit(&figures->lua_heap_bytes, worker.hooks->heap_bytes(), memory_order_relaxed);
    atomic_store_explicit(&figures->loop_lag_us, worker.longest_turn_ms * 1000, memory_order_relaxed);
    worker.longest_turn_ms = 0;
    hold_age();
    worker.sampled_at = now;
    uint64_t limit = worker.segment->boot.max_rss_bytes;
    if (limit > 0 && rss > limit) ask_to_leave(LEAVE_MAX_RSS);
}

static void callbacks_begin(uv_check_t *check) {
    (void)check;
    borrow_busy(uv_now(worker.loop));
}

/* Only wakes the loop: the prepare handle tries the ring again, takes a sample, and counts a tick that tells the master
 * that this process still runs. */
static void wake(uv_timer_t *timer) {
    (void)timer;
}

static void callbacks_end(uv_prepare_t *prepare) {
    (void)prepare;
    uint64_t woken_at = uv_now(worker.loop);
    uv_update_time(worker.loop);
    uint64_t now = uv_now(worker.loop);
    if (now - woken_at > worker.longest_turn_ms) worker.longest_turn_ms = (uint32_t)(now - woken_at);
    if (now - worker.sampled_at >= SAMPLE_INTERVAL_MS) sample(now);
    if (hold.concerned) hold_turn_ends(now);
    if (!borrow_flush()) uv_timer_start(&worker.retry_timer, wake, RETRY_MS, 0);
    if (http_access_is_on && !http_access_flush()) uv_timer_start(&worker.retry_timer, wake, LOG_RETRY_MS, 0);
    if (worker.draining) exit_when_finished();
    borrow_waits();
}

/* ---- start ---------------------------------------------------------------------------------------------------- */

/* The master has died while the loop may be stuck in Lua: a signal handler is all that still runs for certain. */
static void parent_died(int signum) {
    (void)signum;
    alarm(worker.term_timeout_ms / 1000 + 2);
}

static int watch_parent(void) {
    struct sigaction action = {.sa_handler = parent_died, .sa_flags = SA_RESTART};
    if (sigaction(SIGUSR2, &action, NULL) < 0) return -errno;
    if (prctl(PR_SET_PDEATHSIG, SIGUSR2) < 0) return -errno;
    return 0;
}

/* Terminal keys reach the whole process group; what they mean is the master's to say. */
static void ignore_terminal_signals(void) {
    const int signals[] = {SIGINT, SIGHUP, SIGUSR1, SIGPIPE, SIGTTIN, SIGTTOU, SIGTSTP, SIGWINCH, SIGRTMIN + 1};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], SIG_IGN);
}

static int add_handles(uv_loop_t *loop) {
    int err = uv_poll_init(loop, &worker.channel, CHANNEL_FD);
    if (err == 0) err = uv_poll_start(&worker.channel, UV_READABLE, channel_readable);
    if (err == 0) err = uv_prepare_init(loop, &worker.before_poll);
    if (err == 0) err = uv_prepare_start(&worker.before_poll, callbacks_end);
    if (err == 0) err = uv_check_init(loop, &worker.after_poll);
    if (err == 0) err = uv_check_start(&worker.after_poll, callbacks_begin);
    if (err == 0) err = uv_signal_init(loop, &worker.sigterm);
    if (err == 0) err = uv_signal_start(&worker.sigterm, terminated, SIGTERM);
    if (err == 0) err = uv_timer_init(loop, &worker.term_timer);
    if (err == 0) err = uv_timer_init(loop, &worker.retry_timer);
    if (err == 0) err = uv_timer_init(loop, &worker.heartbeat);
    if (err == 0) err = uv_timer_start(&worker.heartbeat, wake, SAMPLE_INTERVAL_MS, SAMPLE_INTERVAL_MS);
    return err;
}

/* A line is sent when it ends, as to a terminal: what was printed before a crash has been printed. */
static void open_output(void) {
    fcntl(LOG_FD, F_SETFD, FD_CLOEXEC);
    fcntl(CAPTURE_FD, F_SETFD, FD_CLOEXEC);
    log_set_captured(CAPTURE_FD, LOG_FD);
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
}

int worker_open(uv_loop_t *loop) {
    open_output();
    int err = segment_map(SEGMENT_FD, &worker.segment);
    if (err < 0) {
        log_write(CLUA_LOG_ERROR, "cannot map the segment: %s", uv_strerror(err));
        return err;
    }
    close(SEGMENT_FD);
    err = shared_open(SHARED_FD);
    if (err < 0) {
        log_write(CLUA_LOG_ERROR, "cannot map the shared memory: %s", uv_strerror(err));
        return err;
    }
    close(SHARED_FD);
    fcntl(CHANNEL_FD, F_SETFD, FD_CLOEXEC);
    const struct boot *boot = &worker.segment->boot;
    char role[320], why[256];
    snprintf(role, sizeof role, "worker %u of %s", boot->worker_id, boot->name);
    log_role(role);
    log_set_level((enum log_level)boot->log_level);
    ignore_terminal_signals();
    err = privilege_drop(boot->user, boot->group, why, sizeof why);
    if (err < 0) {
        log_write(CLUA_LOG_ERROR, "%s", why);
        return err;
    }
    worker.loop = loop;
    worker.is_worker = true;
    worker.term_timeout_ms = boot->term_timeout_ms;
    borrow_open(worker.segment, ring_doorbell);
    blame_open(worker.segment);
    err = watch_parent(); /* after the change of user, which clears PDEATHSIG */
    if (err == 0) err = add_handles(loop);
    if (err == 0) err = hold_open(loop);
    if (err < 0) log_write(CLUA_LOG_ERROR, "cannot start: %s", uv_strerror(err));
    worker.sampled_at = uv_now(loop) - SAMPLE_INTERVAL_MS;
    if (err == 0 && boot->access_format[0]) {
        err = http_access_open(ACCESS_FD, boot->access_format, boot->access_json, boot->worker_id, boot->name);
        if (err < 0) log_write(CLUA_LOG_ERROR, "cannot read the format of the access log: %s", uv_strerror(err));
    }
    return err;
}

void worker_set_hooks(const struct worker_hooks *hooks) {
    worker.hooks = hooks ? hooks : &no_hooks;
}

void worker_ready(const struct worker_hooks *hooks, uint32_t term_timeout_ms) {
    worker_set_hooks(hooks);
    worker.ready = true;
    worker.term_timeout_ms = term_timeout_ms;
    worker.outgoing.u.ready.term_timeout_ms = term_timeout_ms;
    send_packet(CHANNEL_READY, sizeof worker.outgoing.u.ready);
}

/* ---- accounting ----------------------------------------------------------------------------------------------- */

void worker_clients_speak_first(void) {
    if (!worker.is_worker || worker.told_first) return;
    worker.told_first = send_packet(CHANNEL_FIRST, 0) == 0;
}

void worker_request_begin(void) {
    struct figures *figures = borrow_figures();
    int32_t remain = atomic_load_explicit(&figures->remain, memory_order_relaxed);
    uint64_t scores = atomic_load_explicit(&figures->scores, memory_order_relaxed) + 1;
    atomic_store_explicit(&figures->remain, remain + 1, memory_order_relaxed);
    atomic_store_explicit(&figures->scores, scores, memory_order_relaxed);
}

void worker_request_end(void) {
    struct figures *figures = borrow_figures();
    int32_t remain = atomic_load_explicit(&figures->remain, memory_order_relaxed);
    if (remain > 0) atomic_store_explicit(&figures->remain, remain - 1, memory_order_relaxed);
    if (!worker.is_worker || worker.segment->boot.maxc == 0) return;
    if (atomic_load_explicit(&figures->scores, memory_order_relaxed) >= worker.segment->boot.maxc)
        ask_to_leave(LEAVE_MAXC);
}

void worker_answered(unsigned status) {
    unsigned class = status / 100 - 1;
    if (class < SERVED_CLASSES) histogram_count(&borrow_served()->responses[class], 1);
}

void worker_request_took(uint64_t ns) {
    histogram_add(&borrow_served()->request_time, ns);
}

void worker_set_remain(int32_t remain) {
    atomic_store_explicit(&borrow_figures()->remain, remain, memory_order_relaxed);
}

int worker_set_value(const char *key, const char *value) {
    struct segment *segment = worker.segment;
    if (!segment) return 0;
    for (size_t i = 0; i < SEGMENT_VALUES; i++) {
        struct segment_value *slot = &segment->values[i];
        if (slot->key[0] && strncmp(slot->key, key, sizeof slot->key - 1) != 0) continue;
        atomic_fetch_add(&segment->values_version, 1);
        snprintf(slot->key, sizeof slot->key, "%s", key);
        snprintf(slot->value, sizeof slot->value, "%s", value);
        atomic_fetch_add(&segment->values_version, 1);
        return 0;
    }
    return UV_ENOSPC;
}

int worker_ask(uint32_t what) {
    if (!worker.is_worker) return UV_ENOTSUP;
    worker.outgoing.u.ask.what = what;
    return send_packet(CHANNEL_ASK, sizeof worker.outgoing.u.ask);
}

int worker_broadcast(const char *name, const char *bytes, size_t len, uint32_t pid) {
    size_t name_len = strlen(name);
    struct channel_message *message = &worker.outgoing;
    if (!worker.is_worker) return UV_ENOTSUP;
    if (name_len + len > sizeof message->u.broadcast.bytes) return UV_E2BIG;
    message->u.broadcast.pid = pid;
    message->u.broadcast.name_len = (uint32_t)name_len;
    memcpy(message->u.broadcast.bytes, name, name_len);
    memcpy(message->u.broadcast.bytes + name_len, bytes, len);
    return send_packet(CHANNEL_BROADCAST, (uint32_t)(8 + name_len + len));
}
