/* MASTER. See log_sink.h.
 *
 *     lines -> pending -> standard error        pending empty: nothing is late
 *                 |
 *                 +- would wait: tried again every RETRY_MS. Half full: whoever makes many lines should wait, but when
 *                 |  for PATIENCE_MS nothing was taken, nobody waits any more. Full: lost
 *                 +- fails (disk full, reader gone): lost, and the next line is tried */
#include "log_sink.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "log_file.h"
#include "log_ring.h"

enum { PENDING_BYTES = 512 * 1024, RETRY_MS = 10, STUCK_RETRY_MS = 200, PATIENCE_MS = 2000 };

static struct {
    uv_timer_t retry, tell;
    char pending[PENDING_BYTES];
    size_t len;
    unsigned long lost;
    int lost_to; /* UV_E* */
    uint64_t waits_since_ms;
    bool held, torn, failing, telling;
    void (*on_room)(void), (*on_lines)(void);
} sink;

static unsigned long count_lines(const char *bytes, size_t len) {
    unsigned long count = 0;
    for (size_t i = 0; i < len; i++) count += bytes[i] == '\n';
    return count;
}

static void lose(const char *bytes, size_t len, int err) {
    sink.lost += count_lines(bytes, len);
    sink.lost_to = err;
}

/* Is nothing late, and was the last line written? */
static bool flows(void) {
    return sink.waits_since_ms == 0 && !sink.failing;
}

/* Has not been read for so long that nobody shall wait any more. */
static bool is_stuck(void) {
    return sink.waits_since_ms && uv_now(sink.retry.loop) - sink.waits_since_ms >= PATIENCE_MS;
}

static void retry(uv_timer_t *timer);

/* A reader that takes a little now and then is slow, not stuck. */
static void wait_on(bool progress) {
    bool begins = sink.waits_since_ms == 0;
    if (!begins && !progress) return;
    uv_update_time(sink.retry.loop);
    sink.waits_since_ms = uv_now(sink.retry.loop);
    if (begins) uv_timer_start(&sink.retry, retry, RETRY_MS, RETRY_MS);
}

static void flush(void) {
    size_t done = 0;
    if (sink.len == 0) return;
    /* Half a line that a full disk has left behind must not have another for its end. */
    if (sink.torn && log_file_write(STDERR_FILENO, "\n", 1, &done) == 0) sink.torn = false;
    int err = log_file_write(STDERR_FILENO, sink.pending, sink.len, &done);
    sink.failing = err < 0 && err != UV_EAGAIN;
    if (sink.failing) {
        sink.torn = sink.torn || (done > 0 && sink.pending[done - 1] != '\n');
        lose(sink.pending + done, sink.len - done, err);
        done = sink.len;
    }
    sink.len -= done;
    memmove(sink.pending, sink.pending + done, sink.len);
    if (sink.len == 0) {
        sink.waits_since_ms = 0;
    } else {
        wait_on(done > 0);
    }
}

static void say_what_was_lost(void) {
    unsigned long lost = sink.lost;
    if (lost == 0 || !flows()) return;
    sink.lost = 0;
    log_write(CLUA_LOG_WARN, "%lu lines of the log are lost: %s", lost,
              sink.lost_to == UV_EAGAIN ? "they were not read" : uv_strerror(sink.lost_to));
    if (sink.lost > 0) sink.lost += lost - 1; /* and so was this one */
}

static void retry(uv_timer_t *timer) {
    flush();
    if (sink.waits_since_ms == 0) {
        uv_timer_stop(timer);
        say_what_was_lost();
    } else {
        uv_timer_set_repeat(timer, is_stuck() ? STUCK_RETRY_MS : RETRY_MS);
    }
    if (!log_sink_is_congested() && sink.on_room) sink.on_room();
}

static void tell(uv_timer_t *timer) {
    (void)timer;
    sink.telling = false;
    if (sink.on_lines) sink.on_lines();
}

static void put(const char *bytes, size_t len) {
    log_ring_add(bytes, len);
    if (sink.on_lines && !sink.telling) sink.telling = uv_timer_start(&sink.tell, tell, 0, 0) == 0;
    if (sink.len + len > sizeof sink.pending) {
        lose(bytes, len, UV_EAGAIN);
        return;
    }
    memcpy(sink.pending + sink.len, bytes, len);
    sink.len += len;
    if (!sink.held) log_sink_release();
}

bool log_sink_is_congested(void) {
    return sink.len > PENDING_BYTES / 2 && !is_stuck();
}

void log_sink_hold(void) {
    sink.held = true;
}

void log_sink_release(void) {
    sink.held = false;
    if (sink.waits_since_ms) return;
    flush();
    say_what_was_lost();
}

void log_sink_on_room(void (*on_room)(void)) {
    sink.on_room = on_room;
}

void log_sink_on_lines(void (*on_lines)(void)) {
    sink.on_lines = on_lines;
}

const char *log_sink_pending(size_t *len) {
    *len = sink.len;
    return sink.pending;
}

void log_sink_pend(const char *bytes, size_t len) {
    if (len > sizeof sink.pending) return;
    memcpy(sink.pending, bytes, len);
    sink.len = len;
    flush();
}

int log_sink_redirect(const char *path) {
    int fd, err = log_file_open(path, &fd);
    if (err < 0) return err;
    if (sink.waits_since_ms == 0 && !sink.held) flush();
    if (dup2(fd, STDERR_FILENO) < 0) err = UV_EIO;
    sink.torn = false;
    close(fd);
    return err;
}

/* A process that ends may wait a little for who reads its last lines. */
static void flush_at_exit(void) {
    struct pollfd log = {.fd = STDERR_FILENO, .events = POLLOUT};
    while (sink.len > 0 && poll(&log, 1, PATIENCE_MS) > 0 && log.revents == POLLOUT) flush();
    log_set_output(NULL);
}

int log_sink_open(uv_loop_t *loop) {
    int err = uv_timer_init(loop, &sink.retry);
    if (err == 0) err = uv_timer_init(loop, &sink.tell);
    if (err < 0) return err;
    uv_unref((uv_handle_t *)&sink.retry);
    uv_unref((uv_handle_t *)&sink.tell);
    log_set_output(put);
    atexit(flush_at_exit);
    return 0;
}
