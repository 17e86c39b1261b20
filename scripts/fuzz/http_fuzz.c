/* Not a part of clua. libFuzzer over the HTTP connection: src/http_*.c on a stream and a loop that are played here.
 *
 * Input: one byte n, n control bytes, and then what the client sends. The control bytes are taken one after the other,
 * round and round; they decide how the bytes are cut into reads, what the handler does, how much the kernel takes of
 * what is written, when time passes, and when the connection is recalled or ends. Without control bytes everything comes
 * at once and is answered at once.
 *
 * Beside memory errors and failed assertions, these are failures: a hook called for an exchange that is over; an exchange
 * that never ends; more answers than requests; an answer behind one that closes the connection; a connection that does
 * not end after the client has; and a run that reads the same bytes in one piece and one by one, and is not given the
 * same requests and bodies and the same answers (the date is always the same here). */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fcntl.h>

#include "buffer.h"
#include "http_access.h"
#include "http_connection.h"
#include "http_date.h"
#include "http_response.h"
#include "log.h"
#include "worker_figures.h"
#include "worker_send.h"
#include "worker_state.h"

enum { ROUNDS = 400, FILE_BYTES = 200 * 1024, PENDING = 8 };

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                                  \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* ---- the script --------------------------------------------------------------------------------------------- */

static const uint8_t *control;
static size_t control_len, control_at;

static unsigned next_control(void) {
    return control_len ? control[control_at++ % control_len] : 0;
}

/* ---- the loop: handles that are started are run by turn() ------------------------------------------------------- */

static uint64_t now;
static uv_timer_t *ticker;
static uv_timer_cb on_tick;
static uv_prepare_t *preparing;
static uv_prepare_cb on_prepare;

uint64_t uv_hrtime(void) {
    return 1;
}

const char *uv_strerror(int err) {
    (void)err;
    return "";
}

void uv_update_time(uv_loop_t *loop) {
    (void)loop;
}

uint64_t uv_now(const uv_loop_t *loop) {
    (void)loop;
    return now;
}

int uv_timer_init(uv_loop_t *loop, uv_timer_t *timer) {
    (void)loop;
    ticker = timer;
    return 0;
}

int uv_timer_start(uv_timer_t *timer, uv_timer_cb callback, uint64_t timeout, uint64_t repeat) {
    (void)timer, (void)timeout, (void)repeat;
    on_tick = callback;
    return 0;
}

int uv_timer_stop(uv_timer_t *timer) {
    (void)timer;
    on_tick = NULL;
    return 0;
}

int uv_prepare_init(uv_loop_t *loop, uv_prepare_t *prepare) {
    (void)loop;
    preparing = prepare;
    return 0;
}

int uv_prepare_start(uv_prepare_t *prepare, uv_prepare_cb callback) {
    (void)prepare;
    on_prepare = callback;
    return 0;
}

int uv_prepare_stop(uv_prepare_t *prepare) {
    (void)prepare;
    on_prepare = NULL;
    return 0;
}

int uv_idle_init(uv_loop_t *loop, uv_idle_t *idle) {
    (void)loop, (void)idle;
    return 0;
}

int uv_idle_start(uv_idle_t *idle, uv_idle_cb callback) {
    (void)idle, (void)callback;
    return 0;
}

int uv_idle_stop(uv_idle_t *idle) {
    (void)idle;
    return 0;
}

void uv_unref(uv_handle_t *handle) {
    (void)handle;
}

void log_write(enum log_level level, const char *format, ...) {
    (void)level, (void)format;
}

const char *http_date(uint64_t now_ms) {
    (void)now_ms;
    return "Thu, 01 Jan 1970 00:00:00 GMT";
}

/* ---- the worker --------------------------------------------------------------------------------------------- */

static bool draining;
static int in_execution;

bool worker_draining(void) {
    return draining;
}

uint32_t worker_linger_ms(void) {
    return 200;
}

void worker_clients_speak_first(void) {}

void worker_request_begin(void) {
    in_execution++;
}

void worker_request_took(uint64_t took_ns) {
    (void)took_ns;
}

void worker_answered(unsigned status) {
    (void)status;
}

void worker_request_end(void) {
    CHECK(in_execution > 0);
    in_execution--;
}

static const _Atomic uint64_t nothing_known;
struct hold hold = {.known = &nothing_known, .slow_after_ns = UINT64_MAX};

bool hold_admit(struct held *held, int fd, void (*resume)(struct held *held)) {
    (void)held, (void)fd, (void)resume;
    return true;
}

void hold_forget(struct held *held) {
    (void)held;
}

uint64_t hold_begins(const char *line, size_t len) {
    (void)line, (void)len;
    return 0;
}

void hold_ended(uint64_t name, const char *line, size_t len, uint64_t begun_ns, uint64_t took_ns) {
    (void)name, (void)line, (void)len, (void)begun_ns, (void)took_ns;
}

/* ---- the stream --------------------------------------------------------------------------------------------- */

static struct stream *stream; /* NULL: closed, and its hooks have been told */
static enum loan_state loan;
static struct buffer output;
static size_t taken; /* by the kernel at most, before the rest is queued; 0: all */
static int null_fd = -1, file_fd = -1, access_fd = -1;
static bool was_parked;

int stream_descriptor(const struct stream *of) {
    (void)of;
    return null_fd;
}

size_t uv_stream_get_write_queue_size(const uv_stream_t *handle) {
    (void)handle;
    return stream->queued_bytes;
}

int stream_address(const struct stream *of, bool remote, char host[STREAM_HOST_BYTES], uint16_t *port) {
    (void)of, (void)remote;
    memcpy(host, "127.0.0.1", sizeof "127.0.0.1");
    *port = 1;
    return 0;
}

uint64_t stream_now_ms(const struct stream *of) {
    (void)of;
    return now;
}

void stream_own(struct stream *of, const struct stream_hooks *hooks, void *owner) {
    of->hooks = hooks;
    of->owner = owner;
}

int stream_read_start(struct stream *of) {
    CHECK(!of->closing);
    of->reading = true;
    return 0;
}

void stream_read_stop(struct stream *of) {
    of->reading = false;
}

int stream_write(struct stream *of, const char *bytes, size_t len) {
    if (of->closing || of->shut_after_write) return UV_EPIPE;
    CHECK(loan != LOAN_IDLE && loan != LOAN_UNTOUCHED);
    buffer_append(&output, bytes, len);
    if (taken > 0 && (of->queued_bytes > 0 || len > taken)) of->queued_bytes += of->queued_bytes ? len : len - taken;
    return 0;
}

int stream_answer(struct stream *of, const char *bytes, size_t len) {
    loan = LOAN_RESPONDING;
    int err = stream_write(of, bytes, len);
    if (err == 0 && of->queued_bytes == 0) loan = LOAN_IDLE;
    return err;
}

int stream_shutdown(struct stream *of) {
    of->shut_after_write = true;
    return 0;
}

void stream_close(struct stream *of) {
    of->closing = true;
    of->reading = false;
}

bool stream_park(struct stream *of, uint32_t keep_ms) {
    (void)keep_ms;
    CHECK(!of->closing && of->queued_bytes == 0 && (loan == LOAN_IDLE || loan == LOAN_UNTOUCHED));
    if (next_control() & 1) return false;
    was_parked = true;
    stream_close(of);
    return true;
}

bool stream_read_now(struct stream *of) { /* of what was held: nothing is */
    (void)of;
    CHECK(false);
    return false;
}

bool stream_has_unread(const struct stream *of) {
    (void)of;
    return false;
}

bool stream_publish(struct stream *of, enum loan_state state) {
    bool leaves = loan == LOAN_IDLE || loan == LOAN_UNTOUCHED;
    if (of->closing) return false;
    if (leaves && state != LOAN_IDLE && control_len && next_control() == 255) return false; /* taken back */
    loan = state;
    return true;
}

enum loan_state stream_state(const struct stream *of) {
    (void)of;
    return loan;
}

/* ---- the handler -------------------------------------------------------------------------------------------- */

enum mode { AT_ONCE, READ, COLLECT, WAIT, PIECES, SHORT, FAIL, SEND_FILE, MODES };

struct pending {
    struct http_exchange *exchange;
    enum mode mode;
    bool reading;
};

static struct pending pending[PENDING];
static struct buffer seen; /* the heads and bodies that the handler was given */
static unsigned requests, ended;
static bool plain; /* every handler reads the body and then answers */

static struct pending *find(const struct http_exchange *exchange) {
    for (int i = 0; i < PENDING; i++)
        if (pending[i].exchange == exchange) return &pending[i];
    return NULL;
}

static void finish(struct pending *of) {
    struct http_exchange *exchange = of->exchange;
    const char *why = "";
    switch (of->mode) {
    case PIECES:
        if (http_response_write(exchange, "piece", 5, &why) < 0) return;
        http_response_add_trailer(exchange, "X", 1, "y", 1, &why);
        http_connection_is_congested(exchange->connection);
        http_response_end(exchange, "end", 3, &why);
        return;
    case SHORT:
        http_response_set_header(exchange, "Content-Length", 14, "10", 2, true, &why);
        http_response_write(exchange, "short", 5, &why);
        if (http_response_end(exchange, NULL, 0, &why) == UV_EINVAL) http_exchange_failed(exchange);
        return;
    case FAIL:
        http_exchange_failed(exchange);
        return;
    case SEND_FILE:
        if (exchange->response == HTTP_RESPONSE_OPEN) {
            char length[16];
            int len = snprintf(length, sizeof length, "%d", FILE_BYTES);
            http_response_set_header(exchange, "Content-Length", 14, length, (size_t)len, true, &why);
            http_response_send_file(exchange, file_fd, 0, FILE_BYTES, &why);
        }
        if (exchange->file_left > 0) {
            exchange->connection->write_waiting = true;
        } else {
            http_response_end(exchange, NULL, 0, &why);
        }
        return;
    case AT_ONCE:
    case READ:
    case COLLECT:
    case WAIT:
    case MODES:
        http_response_end(exchange, "hello", 5, &why);
        return;
    }
}

/* Takes what is there of the body; the answer follows at its end. */
static void read_body(struct pending *of) {
    const char *bytes;
    size_t len;
    int got = 1;
    if (of->mode == COLLECT && of->exchange->request == HTTP_REQUEST_BODY) {
        http_body_collect(of->exchange);
        return;
    }
    while (got == 1) {
        got = http_body_take(of->exchange, &bytes, &len);
        if (got == 1) buffer_append(&seen, bytes, len);
    }
    if (got == 0) return;
    of->reading = false;
    if (plain) buffer_append(&seen, got == UV_EOF ? "\n=\n" : "\n!\n", 3);
    if (got == UV_EOF) finish(of);
}

static void on_request(struct http_exchange *exchange) {
    CHECK(!find(exchange));
    struct pending *of = find(NULL);
    CHECK(of);
    of->exchange = exchange;
    of->mode = plain ? READ : (enum mode)(next_control() % MODES);
    of->reading = of->mode == READ || of->mode == COLLECT;
    requests++;
    if (plain) buffer_append(&seen, exchange->head.base, exchange->head.len);
    if (of->reading) {
        read_body(of);
    } else if (of->mode != WAIT) {
        finish(of);
    }
}

static void on_ended(struct http_exchange *exchange, bool complete) {
    struct pending *of = find(exchange);
    (void)complete;
    CHECK(of);
    of->exchange = NULL;
    ended++;
}

static void on_readable(struct http_exchange *exchange) {
    struct pending *of = find(exchange);
    CHECK(of);
    if (of->reading) read_body(of);
}

static void on_writable(struct http_exchange *exchange) {
    struct pending *of = find(exchange);
    CHECK(of);
    if (of->mode == SEND_FILE && exchange->response != HTTP_RESPONSE_ENDED && !exchange->connection->error) finish(of);
}

static void on_gone(struct http_exchange *exchange) {
    CHECK(find(exchange));
}

static uint64_t on_body_limit(struct http_exchange *exchange) {
    return exchange->body_limit;
}

static void on_upgrade(struct http_exchange *exchange) {
    const char *rest;
    size_t rest_len;
    on_request(exchange);
    struct pending *of = find(exchange);
    if (!of || exchange->response != HTTP_RESPONSE_OPEN || (next_control() & 1)) return;
    if (http_connection_release(exchange->connection, &rest, &rest_len)) stream_close(stream);
}

static bool connection_over;

static void on_closed(struct http_connection *connection) {
    (void)connection;
    connection_over = true;
}

static const struct http_hooks hooks = {
    .on_request = on_request,
    .on_ended = on_ended,
    .on_readable = on_readable,
    .on_writable = on_writable,
    .on_gone = on_gone,
    .on_body_limit = on_body_limit,
    .on_upgrade = on_upgrade,
    .on_closed = on_closed,
};

/* ---- the run ------------------------------------------------------------------------------------------------ */

/* What libuv would do by itself: callbacks that are due, and the last one of a closed stream. */
static void turn(void) {
    if (on_prepare) on_prepare(preparing);
    if (!stream || !stream->closing) return;
    struct stream *closed = stream;
    if (closed->hooks) closed->hooks->on_closed(closed);
    stream = NULL;
    free(closed);
}

static bool alive(void) {
    return stream && !stream->closing;
}

static void pass_time(unsigned ms) {
    now += ms;
    if (on_tick) on_tick(ticker);
    turn();
}

static void drain(size_t most) {
    if (!alive() || stream->queued_bytes == 0) return;
    stream->queued_bytes -= most < stream->queued_bytes ? most : stream->queued_bytes;
    if (stream->queued_bytes == 0) stream->hooks->on_drain(stream);
    turn();
}

static void answer_pending(void) {
    for (int i = 0; i < PENDING; i++)
        if (pending[i].exchange && !pending[i].reading && pending[i].exchange->response == HTTP_RESPONSE_OPEN)
            finish(&pending[i]);
    turn();
}

static void hang_up(void) {
    if (!alive() || stream->ended) return;
    stream->ended = true;
    stream->reading = false;
    stream->hooks->on_end(stream);
    turn();
}

/* Whatever is not a read. */
static void happen(unsigned what) {
    switch (what % 8) {
    case 0:
        drain(what * 64);
        break;
    case 1:
        pass_time(what * 50);
        break;
    case 2:
        answer_pending();
        break;
    case 3:
        taken = (what / 8) * 512;
        break;
    case 4:
        if (what > 128) draining = true;
        if (alive() && draining) stream->hooks->on_recall(stream);
        turn();
        break;
    case 5:
        if (what > 200 && alive()) stream->hooks->on_error(stream, UV_ECONNRESET);
        turn();
        break;
    case 6:
        drain(SIZE_MAX);
        break;
    default:
        turn();
        break;
    }
}

static void feed(const char *bytes, size_t len) {
    while (len > 0 && alive()) {
        unsigned step = next_control();
        if (control_len && step >= 128) happen(step - 128 + next_control() / 2);
        for (int i = 0; i < 100 && alive() && !stream->reading; i++) {
            answer_pending();
            drain(SIZE_MAX);
            pass_time(1000);
        }
        if (!alive() || !stream->reading) return;
        size_t n = control_len ? 1 + step % 64 : len;
        if (step % 128 == 127) n = 1024;
        if (n > len) n = len;
        /* A copy of its own: the address sanitizer sees who reads behind it or keeps it. */
        char *copy = malloc(n);
        memcpy(copy, bytes, n);
        stream->hooks->on_data(stream, copy, n);
        free(copy);
        turn();
        bytes += n;
        len -= n;
    }
}

/* Final answers in the output, and whether one came behind an answer that closes. No body here holds a status line. */
static unsigned count_answers(void) {
    unsigned answers = 0;
    bool closes = false;
    buffer_append(&output, "", 1);
    for (const char *at = output.data; (at = strstr(at, "HTTP/1.1 ")); at += 9) {
        if (at[9] == '1') continue;
        CHECK(!closes);
        const char *end = strstr(at, "\r\n\r\n"), *close = strstr(at, "\r\nConnection: close\r\n");
        closes = end && close && close < end + 2;
        answers++;
    }
    output.len--;
    return answers;
}

static void run(const char *bytes, size_t len, bool upgrades) {
    struct http_config config = {
        .max_head_bytes = 2048,
        .max_url_bytes = 512,
        .max_headers = 20,
        .max_body_bytes = 100000,
        .head_timeout_ms = 10000,
        .body_timeout_ms = 10000,
        .keep_alive_timeout_ms = 20000,
        .write_timeout_ms = 10000,
        .upgrades = upgrades,
    };
    output.len = seen.len = 0;
    requests = ended = 0;
    draining = was_parked = connection_over = false;
    taken = 0;
    loan = LOAN_UNTOUCHED;
    stream = calloc(1, sizeof *stream);
    stream->loan = plain ? STREAM_NO_LOAN : 0;
    CHECK(http_connection_open(stream, &config, &hooks, NULL) == 0);
    feed(bytes, len);
    hang_up();
    for (int i = 0; i < ROUNDS && stream; i++) {
        answer_pending();
        drain(SIZE_MAX);
        pass_time(1000);
    }
    turn();
    CHECK(!stream && connection_over); /* the client has ended, all have answered, time has passed */
    CHECK(ended == requests && in_execution == 0);
    unsigned answers = count_answers();
    CHECK(answers <= requests + 1);
}

/* All but the interim answers: whose body has come with its head is not told to go on. */
static void keep(struct buffer *copy, const struct buffer *of) {
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const char *at = of->data, *end = at + of->len;
    copy->len = 0;
    while (at < end) {
        const char *next = memmem(at, (size_t)(end - at), go_on, sizeof go_on - 1);
        buffer_append(copy, at, (size_t)((next ? next : end) - at));
        at = next ? next + sizeof go_on - 1 : end;
    }
}

/* Where the last answer begins when it is a refusal; else the end. */
static size_t before_refusal(const struct buffer *of) {
    size_t last = of->len;
    for (size_t at = 0; at + 12 < of->len; at++)
        if (memcmp(of->data + at, "HTTP/1.1 ", 9) == 0) last = of->data[at + 9] >= '4' ? at : of->len;
    return last;
}

/* The same bytes, one by one and at once: the same requests, bodies and answers. A message with two faults may be refused
 * for either. */
static void compare(const char *bytes, size_t len) {
    static const uint8_t one_by_one[] = {0};
    static struct buffer whole, pieces;
    plain = true;
    control_len = control_at = 0;
    run(bytes, len, false);
    keep(&whole, &output);
    control = one_by_one;
    control_len = 1;
    run(bytes, len, false);
    plain = false;
    keep(&pieces, &output);
    size_t same_len = before_refusal(&whole);
    bool same = same_len == before_refusal(&pieces) && (same_len < whole.len) == (same_len < pieces.len) &&
                (same_len == 0 || memcmp(whole.data, pieces.data, same_len) == 0);
    if (!same)
        fprintf(stderr, "at once:\n%.*s\none by one:\n%.*s\n", (int)whole.len, whole.data, (int)pieces.len,
                pieces.data);
    CHECK(same);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every request is logged, to a file that is read again: a line must be one, whatever the request was. */
static const char access_text[] = "|$request|$request_method $request_uri $server_protocol|$status|$body_bytes_sent|"
                                  "$http_host$http_user_agent$http_content_length|$sent_http_x|$remote_addr|";

static void check_lines(void) {
    static char text[1 << 20];
    CHECK(http_access_flush());
    ssize_t len = pread(access_fd, text, sizeof text, 0);
    CHECK(len >= 0 && ftruncate(access_fd, 0) == 0);
    if (len == 0) return;
    CHECK(text[0] == '|' && text[len - 1] == '\n');
    for (ssize_t i = 0; i < len; i++) {
        CHECK((text[i] >= 0x20 && text[i] < 0x7f) || text[i] == '\n');
        CHECK(text[i] != '\n' || (text[i - 1] == '|' && (i == len - 1 || text[i + 1] == '|')));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (null_fd < 0) {
        static char zeros[FILE_BYTES];
        null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
        file_fd = memfd_create("file", MFD_CLOEXEC);
        access_fd = open(".", O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
        CHECK(access_fd >= 0 && http_access_open(access_fd, access_text, false, 1, "fuzz") == 0);
        CHECK(null_fd >= 0 && file_fd >= 0 && write(file_fd, zeros, sizeof zeros) == sizeof zeros);
    }
    if (size == 0) return 0;
    size_t controls = data[0] < size - 1 ? data[0] : size - 1;
    const char *bytes = (const char *)data + 1 + controls;
    size_t len = size - 1 - controls;
    control = data + 1;
    control_len = controls;
    control_at = 0;
    run(bytes, len, controls > 0 && (data[1] & 1));
    check_lines();
    compare(bytes, len);
    return 0;
}
