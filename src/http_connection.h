/* WORKER. One HTTP connection: reads requests from a stream, has them answered through hooks, writes the answers, and
 * keeps the state of the loan true (design section 1).
 *
 * Ownership: a connection belongs to itself from http_connection_open() until its stream is closed or given away; it
 * then frees itself. An exchange is the hooks' to use from on_request until on_ended. Hooks may call any function of
 * http_response.h and http_body_*() on the exchange; what follows from it happens when the hook has returned, or, when
 * called from elsewhere, before the loop next waits. */
#ifndef CLUA_HTTP_CONNECTION_H
#define CLUA_HTTP_CONNECTION_H

#include "buffer.h"
#include "hold.h"
#include "http_exchange.h"
#include "stream.h"
#include "wheel.h"

enum {
    HTTP_HIGH_WATER_BYTES = 64 * 1024, /* buffered in one direction before the other side has to wait */
    HTTP_BATCH_BYTES = 128 * 1024, /* output gathered before it is written without waiting for the end of the read */
    HTTP_SKIP_BYTES = 64 * 1024,   /* of a body that nobody wanted, read to keep the connection */
    HTTP_TURN_REQUESTS = 64,       /* of one connection in one turn of the loop, */
    HTTP_TURN_NS = 5000000,        /* and in how much time */
    HTTP_LINGER_MS = 3000,         /* how long bytes are thrown away behind the last answer (RFC 9112 §9.6) */
};

/* IDLE     between two requests, or before the first: no byte of a request is here
 * HEAD     a part of a head has come
 * BODY     the handler has been called, and the body is not complete
 * WAITING  the request is complete, the answer is not
 * SKIPPING the answer is complete, the rest of the body is thrown away
 * FLUSHING the last answer is on its way to the kernel
 * LINGERING we have shut down; what the client still sends is thrown away, so that no RST overtakes the answer
 * CLOSED   the stream is closed or given away */
#define HTTP_STATES(X) X(IDLE) X(HEAD) X(BODY) X(WAITING) X(SKIPPING) X(FLUSHING) X(LINGERING) X(CLOSED)

enum http_state {
#define X(name) HTTP_STATE_##name,
    HTTP_STATES(X)
#undef X
};

struct http_hooks {
    /* A request: the head is complete, and of the body what came with it. Answer now or later. */
    void (*on_request)(struct http_exchange *exchange);
    /* The exchange is over; forget it. Complete: the whole answer was accepted. Called once after on_request. */
    void (*on_ended)(struct http_exchange *exchange, bool complete);
    /* Body bytes are ready, or the request has become COMPLETE or FAILED. */
    void (*on_readable)(struct http_exchange *exchange);
    /* The output is below the high-water mark again, or the connection is lost (http_response_error). */
    void (*on_writable)(struct http_exchange *exchange);
    /* The client has closed its side while the answer is pending. It may still read. */
    void (*on_gone)(struct http_exchange *exchange);
    /* A body is longer than the server's limit (declared), or of unknown length: what limit is it to have? */
    uint64_t (*on_body_limit)(struct http_exchange *exchange);
    /* A request with Upgrade, and config->upgrades: http_connection_release() it or answer like any other. */
    void (*on_upgrade)(struct http_exchange *exchange);
    /* The connection is gone. */
    void (*on_closed)(struct http_connection *connection);
};

struct http_connection {
    struct stream *stream;
    const struct http_config *config;
    const struct http_hooks *hooks;
    void *server; /* the hooks' */
    struct http_exchange *exchange;

    /* Input: the bytes at hand. Between two reads they are those of `kept`. */
    const char *in;
    size_t in_len;
    struct buffer kept;

    char *peer;         /* for the access log, if there is one */
    struct buffer *out; /* pooled; NULL while empty */
    struct wheel_entry timer;
    uint64_t deadline_ms;    /* the real one; the wheel may fire earlier and looks again */
    uint64_t state_since_ms; /* IDLE, HEAD, FLUSHING, LINGERING: since when */
    uint64_t progress_ms;    /* last body byte received, or last byte of output accepted by the kernel */
    size_t queued_before;    /* stream->queued_bytes at the last look at progress */
    uint64_t turn_began_ns;
    uint64_t clock_ns; /* the time, when a request has just ended; else 0 */
    struct http_connection *settle_next, **settle_back;
    struct held held;

    int error; /* UV_E*: the stream is broken */
    uint32_t dropped_bytes;
    uint32_t turn_requests; /* begun since the connection was last without input, or has had to wait for its turn */
    enum http_state state;
    bool running, released, served;
    bool ended;  /* the client has closed its side */
    bool last;   /* no request is served behind the next answer */
    bool unread; /* the client may still be sending: linger before closing */
    bool cannot_park, gone_told;
    bool write_waiting; /* on_writable is asked for */
};

/* Serves HTTP on the stream and owns it from now on. config and hooks must outlive the connection. 0 or UV_E*; on
 * failure the stream has been closed. */
int http_connection_open(struct stream *stream, const struct http_config *config, const struct http_hooks *hooks,
                         void *server);

/* The handler has failed: 500 if nothing of the answer has been sent, else the connection ends. */
void http_exchange_failed(struct http_exchange *exchange);

/* Ends the connection at once, without another byte. */
void http_connection_abort(struct http_connection *connection, int error);

/* Takes the body bytes at hand: 1 with bytes (valid until the next call), 0 when none are there yet, UV_EOF at the end,
 * UV_E2BIG, UV_EPROTO, UV_ETIMEDOUT or UV_ECONNRESET when the body cannot be had. */
int http_body_take(struct http_exchange *exchange, const char **bytes, size_t *len);

/* The body is wanted as a whole: it is gathered, up to its limit. */
void http_body_collect(struct http_exchange *exchange);

/* Takes the stream away from HTTP: *rest are bytes behind the request (valid during the hook). The exchange and the
 * connection end when the hook has returned. */
struct stream *http_connection_release(struct http_connection *connection, const char **rest, size_t *rest_len);

/* For http_response.c: bytes of output; and a change that the connection must look at. */
void http_connection_send(struct http_connection *connection, const char *bytes, size_t len);
char *http_connection_room(struct http_connection *connection, size_t len);
void http_connection_sent(struct http_connection *connection, size_t len);
void http_connection_touch(struct http_connection *connection);
size_t http_connection_unsent(const struct http_connection *connection);

/* Hands all output to the kernel or its queue; connection->error tells of failure. */
void http_connection_flush(struct http_connection *connection);

/* Output that is not with the kernel has passed the high-water mark: the writer should wait (set write_waiting). */
bool http_connection_is_congested(struct http_connection *connection);

/* Does the client's next body byte find room? May the master have this connection back when it is idle? */
bool http_connection_wants_body(const struct http_exchange *exchange);
bool http_connection_can_be_parked(const struct http_connection *connection);

/* True when the answer must say that it is the last one on this connection. */
bool http_connection_is_last(const struct http_connection *connection);

#endif
