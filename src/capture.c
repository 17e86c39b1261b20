/* MASTER. See capture.h. A worker that writes without end is slowed down by its pipe: of each capture a little is read
 * at a time, of all together no more than TURN_BYTES in a millisecond, and nothing while the log does not take it. */
#include "capture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "log_sink.h"

enum { READ_BYTES = 16 * 1024, TURN_BYTES = 64 * 1024, LAST_READS = 16 };

static struct capture *captures;

/* ---- lines ---------------------------------------------------------------------------------------------------- */

static void write_line(struct capture *capture, const char *text, size_t len) {
    enum log_level level = log_priority_parse(text, len);
    bool continues = level == CLUA_LOG_OUT && capture->level >= 0 && len > 0 && text[0] == '\t';
    if (len > 0 && text[len - 1] == '\r') len--;
    if (continues) {
        level = (enum log_level)capture->level;
    } else if (level != CLUA_LOG_OUT) {
        capture->level = (int)level;
        text += 3;
        len -= 3;
    } else {
        capture->level = -1;
    }
    log_write_as(level, capture->role, capture->pid, text, len, continues, &capture->count);
}

static void write_rest(struct capture *capture) {
    if (capture->len > 0) write_line(capture, capture->line, capture->len);
    capture->len = 0;
    free(capture->line);
    capture->line = NULL;
}

/* Without memory the line is written in pieces, as if it were longer. */
static void keep(struct capture *capture, const char *bytes, size_t len) {
    if (len == 0) return;
    if (!capture->line) capture->line = malloc(CAPTURE_LINE_BYTES + 1);
    if (!capture->line) {
        write_line(capture, bytes, len);
        return;
    }
    memcpy(capture->line + capture->len, bytes, len);
    capture->len += len;
    if (capture->len < CAPTURE_LINE_BYTES) return;
    capture->line[capture->len++] = '\\';
    write_rest(capture);
}

static void take(struct capture *capture, const char *bytes, size_t len) {
    while (len > 0) {
        const char *end = memchr(bytes, '\n', len);
        size_t line = end ? (size_t)(end - bytes) : len, room = CAPTURE_LINE_BYTES - capture->len;
        const char *mark = memchr(bytes, LOG_MARK, line); /* ends what has no end, but makes no line of nothing */
        if (mark) {
            end = mark;
            line = (size_t)(mark - bytes);
        }
        if (line > room) {
            line = room;
            end = NULL;
        }
        if (end && capture->len == 0) {
            if (line > 0 || !mark) write_line(capture, bytes, line);
        } else {
            keep(capture, bytes, line);
            if (end) write_rest(capture);
        }
        if (end) line++;
        bytes += line;
        len -= line;
    }
}

/* ---- the pipe ------------------------------------------------------------------------------------------------- */

static void closed(uv_handle_t *handle) {
    free((char *)handle - offsetof(struct capture, poll));
}

static void end(struct capture *capture) {
    if (capture->ended) return;
    write_rest(capture);
    capture->ended = true;
    if (capture->owner) *capture->owner = NULL;
    *capture->back = capture->next;
    if (capture->next) capture->next->back = capture->back;
    uv_close((uv_handle_t *)&capture->poll, closed);
    close(capture->fd);
}

/* Bytes read, 0 when there are none now, UV_EOF. */
static ssize_t read_some(struct capture *capture) {
    static char bytes[READ_BYTES];
    ssize_t n;
    do n = read(capture->fd, bytes, sizeof bytes);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) return UV_EOF;
    log_sink_hold();
    take(capture, bytes, (size_t)n);
    log_sink_release();
    return n;
}

static void readable(uv_poll_t *handle, int status, int events) {
    static uint64_t turn_ms;
    static size_t turn_bytes;
    struct capture *capture = (struct capture *)((char *)handle - offsetof(struct capture, poll));
    (void)events;
    if (status == 0 && log_sink_is_congested()) {
        capture->paused = true;
        uv_poll_stop(handle);
        return;
    }
    if (turn_ms != uv_now(handle->loop)) {
        turn_ms = uv_now(handle->loop);
        turn_bytes = 0;
    }
    if (status == 0 && turn_bytes >= TURN_BYTES) return; /* comes back in the next turn */
    ssize_t n = status < 0 ? UV_EOF : read_some(capture);
    if (n < 0) {
        end(capture);
    } else {
        turn_bytes += (size_t)n;
    }
}

static void go_on(void) {
    for (struct capture *capture = captures; capture; capture = capture->next) {
        if (!capture->paused) continue;
        capture->paused = false;
        uv_poll_start(&capture->poll, UV_READABLE, readable);
    }
}

int capture_pipe(int fds[2]) {
    if (pipe2(fds, O_CLOEXEC) < 0) return -errno;
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    return 0;
}

int capture_open(uv_loop_t *loop, int fd, const char *role, int pid, struct capture **owner) {
    struct capture *capture = calloc(1, sizeof *capture);
    int err = capture ? uv_poll_init(loop, &capture->poll, fd) : UV_ENOMEM;
    if (err < 0) {
        free(capture);
        close(fd);
        return err;
    }
    log_sink_on_room(go_on);
    uv_unref((uv_handle_t *)&capture->poll); /* a child of a worker keeps no master from its end */
    capture->fd = fd;
    capture->pid = pid;
    capture->level = -1;
    snprintf(capture->role, sizeof capture->role, "%s", role);
    capture->next = captures;
    capture->back = &captures;
    if (captures) captures->back = &capture->next;
    captures = capture;
    capture->owner = owner;
    if (owner) *owner = capture;
    return uv_poll_start(&capture->poll, UV_READABLE, readable);
}

/* The pipe holds less than LAST_READS times what is read at once; a child that goes on writing is read later. */
void capture_last_words(struct capture *capture) {
    ssize_t n = 1;
    for (int i = 0; i < LAST_READS && n > 0; i++) n = read_some(capture);
    if (capture->owner) *capture->owner = NULL;
    capture->owner = NULL;
    if (n < 0) end(capture);
}

struct capture *capture_after(struct capture *capture) {
    return capture ? capture->next : captures;
}

void capture_continue(struct capture *capture, const char *rest, size_t len, int level) {
    capture->level = level;
    keep(capture, rest, len < CAPTURE_LINE_BYTES ? len : CAPTURE_LINE_BYTES - 1);
}
