/* MASTER. See lobby.h. */
#include "lobby.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "pool.h"

enum { EVENTS_PER_TURN = 256, FAREWELL_MS = 2000, DISCARD_BYTES = 1 << 20 };

static struct {
    uv_loop_t *loop;
    uv_poll_t poll;
    uv_timer_t tick;
    int epoll_fd;
    struct wheel wheel;
    lobby_readable_fn lent_readable;
} lobby;

/* It waits no more for a word of its client. */
static void wait_for_worker(struct connection *connection) {
    lobby_leave(connection);
    lobby_wait(connection, CONNECTION_LAST);
}

/* ---- deadlines ------------------------------------------------------------------------------------------------ */

static void expired(struct wheel_entry *entry, void *data) {
    (void)data;
    struct connection *connection = (struct connection *)((char *)entry - offsetof(struct connection, deadline));
    struct pool *pool = connection->pool;
    switch ((enum connection_place)connection->place) {
    case CONNECTION_WAITING:
        pool->turned_away++;
        lobby_farewell(connection, pool->options.gone, pool->options.gone_len);
        break;
    case CONNECTION_PARKED:
        if (connection->lent == 0) { /* how long a client may say nothing is for the protocol to decide */
            wait_for_worker(connection);
        } else {
            lobby_end(connection);
        }
        break;
    case CONNECTION_FAREWELL:
        lobby_end(connection);
        break;
    case CONNECTION_NEW:
    case CONNECTION_LENT:
        break;
    }
}

static void tick(uv_timer_t *timer) {
    wheel_advance(&lobby.wheel, uv_now(lobby.loop), expired, NULL);
    if (lobby.wheel.count == 0) uv_timer_stop(timer);
}

static void set_deadline(struct connection *connection, uint32_t after_ms) {
    if (lobby.wheel.count == 0) {
        lobby.wheel.tick = uv_now(lobby.loop) / WHEEL_TICK_MS; /* nothing was due while the tick slept */
        uv_timer_start(&lobby.tick, tick, WHEEL_TICK_MS, WHEEL_TICK_MS);
    }
    wheel_set(&lobby.wheel, &connection->deadline, uv_now(lobby.loop) + after_ms);
}

/* ---- epoll ---------------------------------------------------------------------------------------------------- */

static void poll_connection(struct connection *connection, uint32_t events) {
    struct epoll_event event = {.events = events, .data.u64 = connection_name(connection)};
    int op = connection->polled ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (connection->fd < 0) return;
    if (epoll_ctl(lobby.epoll_fd, op, connection->fd, &event) < 0) {
        log_write(CLUA_LOG_ERROR, "cannot watch a connection: %s", uv_strerror(-errno));
        return;
    }
    connection->polled = true;
    connection->armed = true;
}

/* The registration belongs to the open file, which a worker's duplicate keeps alive: it must go before the close, unless
 * it was for one event (EPOLLONESHOT) that has come: then it is silent until it is armed again. */
void lobby_unwatch(struct connection *connection) {
    if (!connection->armed) return;
    connection->armed = connection->polled = false;
    struct epoll_event none = {0};
    epoll_ctl(lobby.epoll_fd, EPOLL_CTL_DEL, connection->fd, &none);
}

static int bytes_waiting(const struct connection *connection) {
    int count = 0;
    return ioctl(connection->fd, FIONREAD, &count) == 0 ? count : 0;
}

static bool discard(const struct connection *connection) {
    char scrap[4096];
    for (size_t total = 0; total < DISCARD_BYTES;) {
        /* TCP drops the bytes inside the kernel; other families ignore the flag and need a place to copy to. */
        ssize_t n = recv(connection->fd, scrap, sizeof scrap, MSG_TRUNC | MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return true;
        if (n < 0) return false;
        total += (size_t)n;
    }
    return false;
}

static void connection_event(struct connection *connection, uint32_t events) {
    bool ended = (events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR)) != 0;
    switch ((enum connection_place)connection->place) {
    case CONNECTION_WAITING:
        /* The client may have sent its request and shut down its side: that is to be answered. */
        if ((events & (EPOLLHUP | EPOLLERR)) || bytes_waiting(connection) == 0) {
            lobby_end(connection);
        } else {
            poll_connection(connection, 0);
        }
        break;
    case CONNECTION_PARKED:
        /* A fresh one's registration stays, silent: many a connection has but one request. One that has been parked may
         * live long, and as long each of its packets would take the lock of this epoll. */
        if (connection->lent == 0) connection->armed = false;
        if (ended && bytes_waiting(connection) == 0) {
            lobby_end(connection);
        } else {
            wait_for_worker(connection);
        }
        break;
    case CONNECTION_LENT:
        lobby_unwatch(connection);
        lobby.lent_readable(connection);
        break;
    case CONNECTION_FAREWELL:
        if ((events & (EPOLLHUP | EPOLLERR)) || discard(connection)) lobby_end(connection);
        break;
    case CONNECTION_NEW:
        break;
    }
}

static void readable(uv_poll_t *handle, int status, int uv_events) {
    (void)handle, (void)status, (void)uv_events;
    struct epoll_event events[EVENTS_PER_TURN];
    int count = epoll_wait(lobby.epoll_fd, events, EVENTS_PER_TURN, 0);
    for (int i = 0; i < count; i++) {
        struct connection *connection = connection_find(events[i].data.u64);
        if (connection) connection_event(connection, events[i].events);
    }
}

void lobby_watch_lent(struct connection *connection) {
    if (!connection->armed) poll_connection(connection, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT);
}

int lobby_open(uv_loop_t *loop) {
    lobby.loop = loop;
    lobby.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (lobby.epoll_fd < 0) return -errno;
    wheel_init(&lobby.wheel, uv_now(loop));
    int err = uv_timer_init(loop, &lobby.tick);
    if (err == 0) err = uv_poll_init(loop, &lobby.poll, lobby.epoll_fd);
    if (err == 0) err = uv_poll_start(&lobby.poll, UV_READABLE, readable);
    return err;
}

void lobby_on_lent_readable(lobby_readable_fn fn) {
    lobby.lent_readable = fn;
}

/* ---- moves ---------------------------------------------------------------------------------------------------- */

static uint32_t *count_of(struct connection *connection) {
    static uint32_t nowhere;
    switch ((enum connection_place)connection->place) {
    case CONNECTION_WAITING:
        return &connection->pool->waiting_count;
    case CONNECTION_PARKED:
        return &connection->pool->parked_count;
    case CONNECTION_FAREWELL:
        return &connection->pool->farewell_count;
    case CONNECTION_NEW:
    case CONNECTION_LENT:
        break;
    }
    return &nowhere;
}

void lobby_leave(struct connection *connection) {
    lobby_unwatch(connection);
    wheel_cancel(&lobby.wheel, &connection->deadline);
    --*count_of(connection);
    connection->place = CONNECTION_NEW;
}

void lobby_wait(struct connection *connection, enum connection_end end) {
    struct pool *pool = connection->pool;
    connection_move(connection, CONNECTION_WAITING, &pool->waiting, end);
    pool->waiting_count++;
    if (connection->waiting_since_ns == 0) connection->waiting_since_ns = uv_hrtime();
}

void lobby_stay(struct connection *connection) {
    if (wheel_is_set(&connection->deadline)) return;
    set_deadline(connection, connection->pool->options.queue_timeout_ms);
    poll_connection(connection, EPOLLRDHUP);
}

void lobby_park(struct connection *connection, uint32_t keep_ms) {
    struct pool *pool = connection->pool;
    connection_move(connection, CONNECTION_PARKED, &pool->parked, CONNECTION_LAST);
    pool->parked_count++;
    poll_connection(connection, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT);
    if (keep_ms > 0) set_deadline(connection, keep_ms);
}

void lobby_expect(struct connection *connection) {
    lobby_park(connection, LOBBY_SILENCE_MS);
}

void lobby_farewell(struct connection *connection, const char *reply, size_t len) {
    struct pool *pool = connection->pool;
    lobby_leave(connection);
    if (connection->fd < 0) {
        connection_free(connection);
        return;
    }
    if (len > 0 && send(connection->fd, reply, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        log_write(CLUA_LOG_DEBUG, "cannot send the farewell: %s", uv_strerror(-errno));
    shutdown(connection->fd, SHUT_WR);
    connection_move(connection, CONNECTION_FAREWELL, &pool->farewell, CONNECTION_LAST);
    pool->farewell_count++;
    poll_connection(connection, EPOLLIN | EPOLLRDHUP);
    set_deadline(connection, FAREWELL_MS);
}

void lobby_end(struct connection *connection) {
    lobby_leave(connection);
    if (connection->fd >= 0) shutdown(connection->fd, SHUT_RDWR);
    connection_free(connection);
}

void lobby_end_parked(struct pool *pool) {
    while (!link_alone(&pool->parked)) {
        struct connection *connection = connection_of(pool->parked.next);
        if (bytes_waiting(connection) > 0) { /* they have come since the last poll: closing would reset */
            lobby_farewell(connection, pool->options.gone, pool->options.gone_len);
        } else {
            lobby_end(connection);
        }
    }
}

void lobby_end_farewells(struct pool *pool) {
    while (!link_alone(&pool->farewell)) lobby_end(connection_of(pool->farewell.next));
}

void lobby_turn_away_waiting(struct pool *pool) {
    while (!link_alone(&pool->waiting))
        lobby_farewell(connection_of(pool->waiting.next), pool->options.gone, pool->options.gone_len);
}
