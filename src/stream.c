/* WORKER. Byte streams over libuv that keep the word of their loan true; see stream.h.
 *
 * The race with the master, which may take back an UNTOUCHED or IDLE loan of a worker that it believes stuck:
 *
 *     worker: swap(IDLE -> READING), then read(2)        master: swap(IDLE -> TAKEN), then lend to another worker
 *
 * Only one of the two swaps succeeds. libuv asks for a buffer before it reads, so the swap is made in the alloc
 * callback; a lost one answers with no buffer, and libuv then reads nothing (UV_ENOBUFS).
 *
 * Handles carry no pointer in `data` (luv would take it for its own, see uv.walk): the stream is found by its offset. */
#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "borrow.h"
#include "channel.h"
#include "hold.h"

struct connecting {
    uv_connect_t request;
    struct stream *stream;
};

struct queued_write {
    uv_write_t request;
    struct stream *stream;
    size_t len;
    char bytes[];
};

static char shared_buffer[64 * 1024];
static const struct stream_hooks no_hooks;
static struct stream *all_streams;
static struct stream *by_loan[SEGMENT_LOANS];
static size_t all_count;

static struct stream *stream_of(uv_handle_t *handle) {
    return (struct stream *)((char *)handle - offsetof(struct stream, uv));
}

int stream_descriptor(const struct stream *stream) {
    uv_os_fd_t fd = stream->unattached_fd;
    if (fd < 0 && uv_fileno(&stream->uv.handle, &fd) < 0) return -1;
    return fd;
}

static bool can_be_taken(uint32_t state) {
    return state == LOAN_UNTOUCHED || state == LOAN_IDLE;
}

static void handle_closed(uv_handle_t *handle) {
    struct stream *stream = stream_of(handle);
    if (stream->hooks->on_closed) stream->hooks->on_closed(stream);
    *stream->back = stream->next;
    if (stream->next) stream->next->back = stream->back;
    if (!stream->outgoing) all_count--;
    free(stream);
}

static int stream_new(uv_loop_t *loop, int domain, bool outgoing, struct stream **out) {
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream) return UV_ENOMEM;
    int err = domain == AF_UNIX ? uv_pipe_init(loop, &stream->uv.pipe, 0) : uv_tcp_init(loop, &stream->uv.tcp);
    if (err < 0) {
        free(stream);
        return err;
    }
    stream->hooks = &no_hooks;
    stream->unattached_fd = -1;
    stream->loan = STREAM_NO_LOAN;
    stream->claim = LOAN_HELD;
    stream->outgoing = outgoing;
    stream->next = all_streams;
    stream->back = &all_streams;
    if (all_streams) all_streams->back = &stream->next;
    all_streams = stream;
    if (!outgoing) all_count++;
    *out = stream;
    return 0;
}

/* Undoes stream_new; nobody is told. */
static int give_up(struct stream *stream, int err) {
    stream->closing = true;
    uv_close(&stream->uv.handle, handle_closed);
    return err;
}

int stream_open_unattached(uv_loop_t *loop, int fd, int domain, struct stream **out) {
    socklen_t len = sizeof domain;
    if (domain == AF_UNSPEC && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0) return -errno;
    int err = stream_new(loop, domain, false, out);
    if (err == 0) (*out)->unattached_fd = fd;
    return err;
}

int stream_attach(struct stream *stream) {
    int fd = stream->unattached_fd;
    if (fd < 0 || stream->closing) return 0;
    bool is_tcp = stream->uv.handle.type == UV_TCP;
    int err = is_tcp ? uv_tcp_open(&stream->uv.tcp, fd) : uv_pipe_open(&stream->uv.pipe, fd);
    if (err < 0) return err;
    stream->unattached_fd = -1;
    if (!stream->reading) return 0;
    stream->reading = false;
    return stream_read_start(stream);
}

int stream_open(uv_loop_t *loop, int fd, int domain, const struct stream_hooks *hooks, void *owner,
                struct stream **out) {
    struct stream *stream = NULL;
    int err = stream_open_unattached(loop, fd, domain, &stream);
    if (!stream) return err;
    err = stream_attach(stream);
    if (err < 0) {
        stream->unattached_fd = -1; /* the caller's still */
        return give_up(stream, err);
    }
    stream_own(stream, hooks, owner);
    *out = stream;
    return 0;
}

static void connected(uv_connect_t *request, int status) {
    struct connecting *connecting = (struct connecting *)request;
    struct stream *stream = connecting->stream;
    free(connecting);
    if (!stream->closing && stream->hooks->on_connect) stream->hooks->on_connect(stream, status);
}

static int begin_connect(uv_loop_t *loop, int domain, struct stream **stream, struct connecting **connecting) {
    *connecting = malloc(sizeof **connecting);
    if (!*connecting) return UV_ENOMEM;
    int err = stream_new(loop, domain, true, stream);
    if (err < 0) {
        free(*connecting);
        return err;
    }
    (*connecting)->stream = *stream;
    return 0;
}

int stream_connect(uv_loop_t *loop, const struct sockaddr *address, const struct stream_hooks *hooks, void *owner,
                   struct stream **out) {
    struct stream *stream;
    struct connecting *connecting;
    int err = begin_connect(loop, address->sa_family, &stream, &connecting);
    if (err < 0) return err;
    err = uv_tcp_connect(&connecting->request, &stream->uv.tcp, address, connected);
    if (err < 0) {
        free(connecting);
        return give_up(stream, err);
    }
    stream_own(stream, hooks, owner);
    *out = stream;
    return 0;
}

int stream_connect_unix(uv_loop_t *loop, const char *path, const struct stream_hooks *hooks, void *owner,
                        struct stream **out) {
    struct stream *stream;
    struct connecting *connecting;
    /* libuv would cut a path that is too long, and connect somewhere else. */
    if (strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path) return UV_ENAMETOOLONG;
    int err = begin_connect(loop, AF_UNIX, &stream, &connecting);
    if (err < 0) return err;
    uv_pipe_connect(&connecting->request, &stream->uv.pipe, path, connected);
    stream_own(stream, hooks, owner);
    *out = stream;
    return 0;
}

void stream_borrow(struct stream *stream, const struct channel_loan *loan) {
    stream->loan = loan->loan;
    stream->lent = loan->lent;
    stream->written = loan->written;
    stream->port = loan->port;
    stream->unowned = (loan->flags & CHANNEL_LOAN_UNOWNED) != 0;
    by_loan[loan->loan] = stream;
}

struct stream *stream_of_loan(uint32_t loan) {
    return loan < SEGMENT_LOANS ? by_loan[loan] : NULL;
}

void stream_own(struct stream *stream, const struct stream_hooks *hooks, void *owner) {
    stream->hooks = hooks ? hooks : &no_hooks;
    stream->owner = owner;
}

enum loan_state stream_state(const struct stream *stream) {
    if (stream->loan == STREAM_NO_LOAN) return LOAN_HELD;
    return (enum loan_state)atomic_load_explicit(borrow_word(stream->loan), memory_order_relaxed);
}

bool stream_publish(struct stream *stream, enum loan_state state) {
    if (stream->loan == STREAM_NO_LOAN) return true;
    if (stream->closing) return false;
    _Atomic uint32_t *word = borrow_word(stream->loan);
    uint32_t now = atomic_load_explicit(word, memory_order_relaxed);
    if (now == (uint32_t)state) return true;
    if (now == LOAN_TAKEN) return false;
    if (can_be_taken(now)) return loan_swap(word, (enum loan_state)now, state);
    if (state == LOAN_RESPONDING && now == LOAN_READING) borrow_begun(stream->loan, stream->written);
    atomic_store_explicit(word, (uint32_t)state, memory_order_release);
    return true;
}

/* Ends the loan and closes the handle. The descriptor is closed inside uv_close, so the entry goes into the ring after
 * it: a master that lends the connection again never finds our epoll registration still there. */
static void finish(struct stream *stream, enum completion_kind kind, uint32_t aux, bool urgent) {
    if (stream->closing) return;
    stream->closing = true;
    if (stream->unattached_fd >= 0) close(stream->unattached_fd);
    stream->unattached_fd = -1;
    uv_close(&stream->uv.handle, handle_closed);
    if (stream->loan == STREAM_NO_LOAN) return;
    by_loan[stream->loan] = NULL; /* from the entry on the master may lend under this index again */
    borrow_complete(stream->loan, kind, aux, stream->written, urgent);
}

static bool taken(const struct stream *stream) {
    return stream->loan != STREAM_NO_LOAN && stream_state(stream) == LOAN_TAKEN;
}

static void alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    struct stream *stream = stream_of(handle);
    borrow_busy(uv_now(handle->loop));
    *buf = uv_buf_init(NULL, 0);
    if (stream->loan != STREAM_NO_LOAN) {
        uint32_t state = stream_state(stream);
        if (hold_knows() && can_be_taken(state) && stream->hooks->on_come && !stream->hooks->on_come(stream)) return;
        if (state == LOAN_TAKEN || (can_be_taken(state) && !stream_publish(stream, (enum loan_state)stream->claim)))
            return;
        stream->woken_from = can_be_taken(state) ? (uint8_t)state : 0;
    }
    if (stream->hooks->on_alloc) {
        stream->hooks->on_alloc(stream, buf);
    } else {
        *buf = uv_buf_init(shared_buffer, sizeof shared_buffer);
    }
}

static void received(uv_stream_t *handle, ssize_t nread, const uv_buf_t *buf) {
    struct stream *stream = stream_of((uv_handle_t *)handle);
    if (stream->closing) return;
    if (nread > 0) {
        if (stream->hooks->on_data) stream->hooks->on_data(stream, buf->base, (size_t)nread);
        return;
    }
    if (nread == 0) { /* EAGAIN: nothing was read, so the loan is what it was */
        if (stream->woken_from) stream_publish(stream, (enum loan_state)stream->woken_from);
        return;
    }
    if (nread == UV_ENOBUFS) { /* alloc() has given no buffer */
        if (taken(stream)) {
            finish(stream, COMPLETION_DROP, 0, true);
        } else {
            stream_read_stop(stream);
        }
        return;
    }
    stream_read_stop(stream);
    stream->ended = true;
    if (nread == UV_EOF) {
        if (stream->hooks->on_end) stream->hooks->on_end(stream);
    } else if (stream->hooks->on_error) {
        stream->hooks->on_error(stream, (int)nread);
    }
}

int stream_read_start(struct stream *stream) {
    if (stream->reading) return 0;
    if (stream->closing || stream->ended) return UV_EOF;
    int err = stream->unattached_fd < 0 ? uv_read_start(&stream->uv.stream, alloc, received) : 0;
    stream->reading = err == 0;
    return err;
}

bool stream_read_now(struct stream *stream) {
    uv_buf_t buf;
    if (!stream->reading || stream->closing) return false;
    alloc(&stream->uv.handle, sizeof shared_buffer, &buf);
    if (buf.len == 0) {
        received(&stream->uv.stream, UV_ENOBUFS, &buf);
        return false;
    }
    ssize_t n;
    do {
        n = recv(stream_descriptor(stream), buf.base, buf.len, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        n = errno == EAGAIN ? 0 : -errno;
    else if (n == 0)
        n = UV_EOF;
    received(&stream->uv.stream, n, &buf);
    return n != 0;
}

void stream_read_stop(struct stream *stream) {
    if (!stream->reading) return;
    if (stream->unattached_fd < 0) uv_read_stop(&stream->uv.stream);
    stream->reading = false;
}

static void shut_down_now(struct stream *stream) {
    shutdown(stream_descriptor(stream), SHUT_WR);
    stream->shut = true;
}

static void written(uv_write_t *request, int status) {
    struct queued_write *queued = (struct queued_write *)request;
    struct stream *stream = queued->stream;
    stream->queued_bytes -= queued->len;
    stream->written += (uint32_t)queued->len;
    free(queued);
    if (stream->closing) return;
    if (status < 0) {
        if (stream->hooks->on_error) stream->hooks->on_error(stream, status);
        return;
    }
    if (stream->queued_bytes > 0) return;
    if (stream->shut_after_write && !stream->shut) shut_down_now(stream);
    if (stream->hooks->on_drain) stream->hooks->on_drain(stream);
}

static int queue_write(struct stream *stream, const char *bytes, size_t len) {
    int err = stream_attach(stream);
    struct queued_write *queued = err == 0 ? malloc(sizeof *queued + len) : NULL;
    if (!queued) return err < 0 ? err : UV_ENOMEM;
    queued->stream = stream;
    queued->len = len;
    memcpy(queued->bytes, bytes, len);
    uv_buf_t buf = uv_buf_init(queued->bytes, (unsigned)len);
    err = uv_write(&queued->request, &stream->uv.stream, &buf, 1, written);
    if (err < 0) {
        free(queued);
        return err;
    }
    stream->queued_bytes += len;
    return 0;
}

/* Wins the loan for writing. 0, UV_EPIPE or UV_ECANCELED. */
static int begin_write(struct stream *stream) {
    if (stream->closing || stream->shut || stream->shut_after_write) return UV_EPIPE;
    if (stream->loan == STREAM_NO_LOAN) return 0;
    uint32_t state = stream_state(stream);
    if (state == LOAN_TAKEN) return UV_ECANCELED;
    if (!can_be_taken(state)) return 0;
    return stream_publish(stream, stream->claim == LOAN_HELD ? LOAN_HELD : LOAN_RESPONDING) ? 0 : UV_ECANCELED;
}

/* Not uv_try_write(), which knows no MSG_MORE and wants the stream attached. */
static int send_now(const struct stream *stream, const char *bytes, size_t len) {
    int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (stream->more_follows ? MSG_MORE : 0);
    ssize_t n;
    do {
        n = send(stream_descriptor(stream), bytes, len, flags);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : (int)n;
}

/* What the kernel takes now; 0 when something is queued already. Number of bytes or UV_E*. */
static int try_write(struct stream *stream, const char *bytes, size_t len) {
    if (stream->queued_bytes > 0) return 0;
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)len);
    /* One of our own may be connecting still, which libuv knows. */
    int n = stream->outgoing ? uv_try_write(&stream->uv.stream, &buf, 1) : send_now(stream, bytes, len);
    if (n == UV_EAGAIN) return 0;
    if (n > 0) stream->written += (uint32_t)n;
    return n;
}

int stream_write(struct stream *stream, const char *bytes, size_t len) {
    int err = begin_write(stream);
    if (err < 0) return err;
    int n = try_write(stream, bytes, len);
    if (n < 0) return n;
    return (size_t)n < len ? queue_write(stream, bytes + n, len - (size_t)n) : 0;
}

int stream_answer(struct stream *stream, const char *bytes, size_t len) {
    if (stream->loan == STREAM_NO_LOAN || stream->queued_bytes > 0) return stream_write(stream, bytes, len);
    int err = begin_write(stream);
    if (err < 0) return err;
    if (stream_state(stream) == LOAN_READING) borrow_begun(stream->loan, stream->written);
    borrow_answered(stream->loan, stream->written + (uint32_t)len);
    int n = try_write(stream, bytes, len);
    if (n >= 0 && (size_t)n == len) {
        stream_publish(stream, LOAN_IDLE);
        return 0;
    }
    stream_publish(stream, LOAN_RESPONDING);
    return n < 0 ? n : queue_write(stream, bytes + n, len - (size_t)n);
}

int stream_shutdown(struct stream *stream) {
    if (stream->closing) return UV_EPIPE;
    if (taken(stream)) return UV_ECANCELED;
    if (can_be_taken(stream_state(stream)) && !stream_publish(stream, (enum loan_state)stream->claim))
        return UV_ECANCELED;
    stream->shut_after_write = true;
    if (stream->queued_bytes == 0 && !stream->shut) shut_down_now(stream);
    return 0;
}

/* Wins the loan for good before the connection is ended; false when it is another worker's by now. */
static bool win(struct stream *stream) {
    if (stream->loan == STREAM_NO_LOAN) return true;
    return !taken(stream) && stream_publish(stream, (enum loan_state)stream->claim);
}

void stream_close(struct stream *stream) {
    if (stream->closing) return;
    if (!win(stream)) {
        finish(stream, COMPLETION_DROP, 0, true);
        return;
    }
    if (stream->loan != STREAM_NO_LOAN) shutdown(stream_descriptor(stream), SHUT_RDWR);
    finish(stream, COMPLETION_DONE, 0, false);
}

void stream_reset(struct stream *stream) {
    if (stream->closing) return;
    if (!win(stream)) {
        finish(stream, COMPLETION_DROP, 0, true);
        return;
    }
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(stream_descriptor(stream), SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    finish(stream, COMPLETION_DONE, 0, true); /* the RST goes out when the master closes the last descriptor */
}

bool stream_park(struct stream *stream, uint32_t keep_ms) {
    if (stream->closing || stream->loan == STREAM_NO_LOAN || stream->unowned || stream->queued_bytes > 0) return false;
    if (stream->shut || stream->shut_after_write || stream->ended) return false;
    uint32_t state = stream_state(stream);
    if (state == LOAN_TAKEN) {
        finish(stream, COMPLETION_DROP, 0, true);
        return true;
    }
    if (!can_be_taken(state)) return false;
    stream_read_stop(stream);
    /* An untouched connection may belong to a protocol whose server speaks first: it must not wait for bytes. */
    bool back = state == LOAN_UNTOUCHED;
    if (!loan_swap(borrow_word(stream->loan), (enum loan_state)state, back ? LOAN_BACK : LOAN_PARKED)) {
        finish(stream, COMPLETION_DROP, 0, true);
        return true;
    }
    finish(stream, back ? COMPLETION_BACK : COMPLETION_PARK, back ? 0 : keep_ms, true);
    return true;
}

int stream_peek(const struct stream *stream, char *bytes, size_t size) {
    ssize_t n;
    do {
        n = recv(stream_descriptor(stream), bytes, size, MSG_PEEK | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : (int)n;
}

bool stream_has_unread(const struct stream *stream) {
    int count = 0;
    return !stream->closing && ioctl(stream_descriptor(stream), FIONREAD, &count) == 0 && count > 0;
}

void stream_drop_taken(struct stream *stream) {
    if (!stream->closing && taken(stream)) finish(stream, COMPLETION_DROP, 0, true);
}

void stream_each(void (*visit)(struct stream *stream, void *data), void *data) {
    struct stream *next;
    for (struct stream *stream = all_streams; stream; stream = next) {
        next = stream->next; /* closing unlinks on a later turn of the loop, so next stays valid */
        if (!stream->closing) visit(stream, data);
    }
}

size_t stream_count(void) {
    return all_count;
}

int stream_address(const struct stream *stream, bool remote, char host[STREAM_HOST_BYTES], uint16_t *port) {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_storage storage;
    } address = {0};
    socklen_t len = sizeof address;
    int fd = stream_descriptor(stream);
    int err = remote ? getpeername(fd, &address.any, &len) : getsockname(fd, &address.any, &len);
    if (err < 0) return uv_translate_sys_error(errno);
    if (address.any.sa_family == AF_INET) {
        *port = ntohs(address.in.sin_port);
        return uv_ip4_name(&address.in, host, STREAM_HOST_BYTES);
    }
    if (address.any.sa_family == AF_INET6) {
        *port = ntohs(address.in6.sin6_port);
        return uv_ip6_name(&address.in6, host, STREAM_HOST_BYTES);
    }
    *port = 0;
    memcpy(host, "unix", sizeof "unix");
    return 0;
}

uint64_t stream_now_ms(const struct stream *stream) {
    return uv_now(stream->uv.handle.loop);
}
