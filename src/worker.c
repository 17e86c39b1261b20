/* WORKER. The life of a worker: starts, does what the channel says, drains and exits.
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
#include "sched_policy.h"
#include "shared.h"
#include "stream.h"
#include "worker_loans.h"
#include "worker_send.h"
#include "worker_state.h"

enum { PACKETS_PER_TURN = 8, SAMPLE_INTERVAL_MS = 1000, RETRY_MS = 2, LOG_RETRY_MS = 20 };

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
    struct channel_message message; /* the packet being read */
    uint64_t sampled_at;
    uint32_t longest_turn_ms, term_timeout_ms;
    bool is_ready; /* which the master has not been told yet */
} worker = {.hooks = &no_hooks};

/* ---- ready ----------------------------------------------------------------------------------------------------- */

/* Not in worker_ready(): what the script does behind that call may fail, and the old worker of a reload is then to stay. */
static void tell_ready(void) {
    worker.is_ready = false;
    /* Now: loading the script was work for a while, and is over. */
    if (worker.segment->boot.sched_batch) sched_policy_open(&shared_of_process()->burnt_ms, uv_now(worker.loop));
    worker_send_ready(worker.term_timeout_ms);
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
    if (worker_draining()) return;
    worker_state_drain();
    if (worker.hooks->on_drain) worker.hooks->on_drain();
    stream_each(recall, NULL);
    uv_timer_start(&worker.term_timer, term_timed_out, worker.term_timeout_ms, 0);
}

void worker_leave(void) {
    if (worker.is_ready) tell_ready();
    worker_send_leave(LEAVE_TERM);
    drain();
}

static void terminated(uv_signal_t *handle, int signum) {
    (void)handle, (void)signum;
    worker_leave();
}

static void exit_when_finished(void) {
    if (stream_count() > 0) return;
    if (atomic_load_explicit(&borrow_figures()->remain, memory_order_relaxed) > 0) return;
    if (!borrow_flush() && !worker_is_orphan()) return;
    if (worker.hooks->on_exit) worker.hooks->on_exit();
    exit(0);
}

/* ---- packets -------------------------------------------------------------------------------------------------- */

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
    worker_state_orphan();
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
        worker_loans_take(worker.loop, message, fds, fd_count, worker.hooks->on_loan);
        break;
    case CHANNEL_RECALL:
        worker_loans_drop(message);
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
    if (limit > 0 && rss > limit) worker_send_leave(LEAVE_MAX_RSS);
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
    if (worker.is_ready) tell_ready();
    uint64_t woken_at = uv_now(worker.loop);
    uv_update_time(worker.loop);
    uint64_t now = uv_now(worker.loop);
    if (now - woken_at > worker.longest_turn_ms) worker.longest_turn_ms = (uint32_t)(now - woken_at);
    if (now - worker.sampled_at >= SAMPLE_INTERVAL_MS) sample(now);
    if (hold.concerned) hold_turn_ends(now);
    sched_policy_turn(now);
    if (!borrow_flush()) uv_timer_start(&worker.retry_timer, wake, RETRY_MS, 0);
    if (http_access_is_on && !http_access_flush()) uv_timer_start(&worker.retry_timer, wake, LOG_RETRY_MS, 0);
    if (worker_draining()) exit_when_finished();
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
    worker_state_open(boot);
    worker.term_timeout_ms = boot->term_timeout_ms;
    borrow_open(worker.segment, worker_send_doorbell);
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
    worker.term_timeout_ms = term_timeout_ms;
    worker.is_ready = true;
}
