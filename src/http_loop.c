/* WORKER. See http_loop.h.
 *
 * A request moves its connection's deadline several times, but the wheel only ever moves an entry forward: an entry
 * that fires early looks at deadline_ms and sets itself again. The handles are unreferenced: a process with nothing
 * but an idle wheel may end. */
#include "http_loop.h"

#include <stddef.h>
#include <stdlib.h>

#include "log.h"

enum { BUFFERS_KEPT = 16, BUFFER_KEPT_BYTES = 2 * HTTP_BATCH_BYTES, LATE_MS = 5 * WHEEL_TICK_MS };

static struct wheel wheel;
static uv_timer_t ticker;
static uv_prepare_t settler;
static uv_idle_t idler;
static bool opened, let_pass;
static uint64_t ticked_at_ms;
static struct http_connection *settling;
static void (*settle_hook)(struct http_connection *), (*expired_hook)(struct http_connection *);
static struct buffer *buffers[BUFFERS_KEPT];
static unsigned buffer_count;

static void expired(struct wheel_entry *entry, void *data) {
    (void)data;
    struct http_connection *connection =
        (struct http_connection *)((char *)entry - offsetof(struct http_connection, timer));
    uint64_t deadline_ms = connection->deadline_ms;
    if (deadline_ms == 0) return;
    if (deadline_ms > stream_now_ms(connection->stream)) {
        wheel_set(&wheel, entry, deadline_ms);
        return;
    }
    connection->deadline_ms = 0;
    expired_hook(connection);
}

/* Timers run before the poll. When a handler has held up the loop, what clients have sent meanwhile lies unread in their
 * sockets: it is read before anybody is found to be late. */
static void tick(uv_timer_t *timer) {
    uint64_t now_ms = uv_now(timer->loop);
    bool late = now_ms - ticked_at_ms > LATE_MS && !let_pass;
    ticked_at_ms = now_ms;
    let_pass = late;
    if (late) return;
    wheel_advance(&wheel, now_ms, expired, NULL);
    if (wheel.count == 0) uv_timer_stop(timer);
}

static void nothing(uv_idle_t *idle) {
    (void)idle;
}

/* Those that want to be looked at again have their turn after the loop's next poll, which the idle handle keeps from
 * waiting: a connection with much to do does not keep the others from being served. */
static void settle(uv_prepare_t *prepare) {
    struct http_connection *list = settling;
    settling = NULL;
    if (list) list->settle_back = &list;
    while (list) {
        struct http_connection *connection = list;
        list = connection->settle_next;
        if (list) list->settle_back = &list;
        connection->settle_back = NULL;
        settle_hook(connection);
    }
    if (settling) {
        uv_idle_start(&idler, nothing);
    } else {
        uv_idle_stop(&idler);
        uv_prepare_stop(prepare);
    }
}

int http_loop_open(uv_loop_t *loop, void (*on_settle)(struct http_connection *),
                   void (*on_expired)(struct http_connection *)) {
    if (opened) return 0;
    int err = uv_timer_init(loop, &ticker);
    if (err == 0) err = uv_prepare_init(loop, &settler);
    if (err == 0) err = uv_idle_init(loop, &idler);
    if (err < 0) return err;
    uv_unref((uv_handle_t *)&idler);
    uv_unref((uv_handle_t *)&ticker);
    uv_unref((uv_handle_t *)&settler);
    wheel_init(&wheel, uv_now(loop));
    settle_hook = on_settle;
    expired_hook = on_expired;
    opened = true;
    return 0;
}

void http_loop_deadline(struct http_connection *connection, uint64_t deadline_ms) {
    connection->deadline_ms = deadline_ms;
    if (deadline_ms == 0) return;
    if (wheel_is_set(&connection->timer) && connection->timer.deadline_ms <= deadline_ms) return;
    if (wheel.count == 0) {
        ticked_at_ms = uv_now(ticker.loop);
        wheel_catch_up(&wheel, ticked_at_ms);
        uv_timer_start(&ticker, tick, WHEEL_TICK_MS, WHEEL_TICK_MS);
    }
    wheel_set(&wheel, &connection->timer, deadline_ms);
}

void http_loop_settle(struct http_connection *connection) {
    if (connection->settle_back) return;
    if (!settling) uv_prepare_start(&settler, settle);
    connection->settle_next = settling;
    connection->settle_back = &settling;
    if (settling) settling->settle_back = &connection->settle_next;
    settling = connection;
}

void http_loop_forget(struct http_connection *connection) {
    if (wheel_is_set(&connection->timer)) wheel_cancel(&wheel, &connection->timer);
    if (!connection->settle_back) return;
    *connection->settle_back = connection->settle_next;
    if (connection->settle_next) connection->settle_next->settle_back = connection->settle_back;
    connection->settle_back = NULL;
}

struct buffer *http_loop_buffer_take(void) {
    if (buffer_count > 0) return buffers[--buffer_count];
    struct buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer) {
        log_write(CLUA_LOG_ERROR, "cannot write an answer: out of memory");
        abort();
    }
    return buffer;
}

void http_loop_buffer_give(struct buffer *buffer) {
    buffer->len = 0;
    if (buffer_count < BUFFERS_KEPT && buffer->cap <= BUFFER_KEPT_BYTES) {
        buffers[buffer_count++] = buffer;
        return;
    }
    buffer_free(buffer);
    free(buffer);
}
