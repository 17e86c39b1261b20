/* WORKER. A byte stream over libuv: most often the worker's duplicate of a connection that it has on loan.
 *
 * The stream keeps the loan's word in the segment true for whoever speaks the protocol: it wins the compare-and-swap
 * before the first byte is read or written, and gives the loan back in one of four ways (close, park, back, drop).
 *
 * Ownership: a stream belongs to whoever set its hooks (stream_own) until on_closed, the last hook ever called; it then
 * frees itself. Hooks run from the event loop only, never inside a stream_*() call. Bytes given to on_data are valid
 * during the call. */
#ifndef CLUA_STREAM_H
#define CLUA_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "segment.h"

struct stream;

struct stream_hooks {
    void (*on_connect)(struct stream *stream, int status); /* of stream_connect: 0, or UV_E*: close it */
    /* Optional: where to read to. Default: one 64 KiB buffer shared by the process, valid during on_data. */
    void (*on_alloc)(struct stream *stream, uv_buf_t *buf);
    /* Optional, asked where hold_knows(): bytes have come, and the loan can still be taken. False: leave them unread; reading
     * stops until stream_read_start(). */
    bool (*on_come)(struct stream *stream);
    void (*on_data)(struct stream *stream, char *bytes, size_t len);
    void (*on_end)(struct stream *stream);              /* the peer has shut down its side; reading has stopped */
    void (*on_error)(struct stream *stream, int error); /* UV_E*: reading or writing failed; close it */
    void (*on_drain)(struct stream *stream);            /* all queued writes have been sent */
    void (*on_recall)(struct stream *stream);           /* worker drains: end or give back when you can */
    void (*on_closed)(struct stream *stream);           /* closed, parked, given back or taken: forget it now */
};

enum { STREAM_NO_LOAN = UINT32_MAX };

struct stream {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    const struct stream_hooks *hooks;
    void *owner;
    struct stream *next, **back; /* all streams of this process */
    size_t queued_bytes;         /* accepted by stream_write, not yet given to the kernel */
    uint32_t loan;               /* index of the loan, or STREAM_NO_LOAN */
    uint32_t written;            /* bytes given to the kernel over all loans of this connection, modulo 2^32 */
    uint32_t lent;               /* how often this connection has been lent, from 1 (0 without a loan) */
    int unattached_fd;           /* the descriptor, while libuv does not have it; else -1 */
    uint16_t port;               /* local port that the client came to; 0 for a unix socket */
    uint8_t claim;               /* enum loan_state that reading or writing moves the loan to: READING or HELD */
    bool unowned : 1;            /* the master kept no descriptor: cannot be parked or given back */
    uint8_t woken_from;          /* state before the read that is under way, 0 when it was not one that can be taken */
    bool reading : 1, ended : 1, closing : 1, shut_after_write : 1, shut : 1;
    bool outgoing : 1;     /* this process has opened it */
    bool more_follows : 1; /* bytes or FIN come right behind what is written: one packet for both */
};

/* Makes a stream of a connected, non-blocking socket (TCP or unix). On success the stream owns fd; on failure the
 * caller still does. domain: that of the socket; AF_UNSPEC when it is not known. claim starts as HELD; nothing is read
 * before stream_read_start(). 0 or UV_E*. */
int stream_open(uv_loop_t *loop, int fd, int domain, const struct stream_hooks *hooks, void *owner,
                struct stream **out);

/* The same for a descriptor that the loop need not hear of, if all is over before it next waits: what is short costs no
 * epoll_ctl(2). Nothing is read but by stream_read_now() until stream_attach(), which must follow before the loop waits.
 * Hooks are set with stream_own(). 0 or UV_E* (the descriptor is the caller's still). */
int stream_open_unattached(uv_loop_t *loop, int fd, int domain, struct stream **out);

/* From now on the loop watches the stream. Idempotent, and harmless when it is closed. 0 or UV_E*: close it. */
int stream_attach(struct stream *stream);

/* Its descriptor, which stays the stream's; -1 when it has none (any more). */
int stream_descriptor(const struct stream *stream);

/* Opens a connection of our own, to an address or to a unix socket; on_connect tells how it went. Such a stream is no
 * client's: it does not keep a draining worker alive (stream_count). 0 or UV_E* (nothing to close then). */
int stream_connect(uv_loop_t *loop, const struct sockaddr *address, const struct stream_hooks *hooks, void *owner,
                   struct stream **out);
int stream_connect_unix(uv_loop_t *loop, const char *path, const struct stream_hooks *hooks, void *owner,
                        struct stream **out);

/* Ties the stream to a loan of this worker. flags: CHANNEL_LOAN_*. */
struct channel_loan;
void stream_borrow(struct stream *stream, const struct channel_loan *loan);

/* The open stream of a loan, or NULL. */
struct stream *stream_of_loan(uint32_t loan);

/* Hands the stream to another owner (a raw socket becomes an HTTP connection and back). */
void stream_own(struct stream *stream, const struct stream_hooks *hooks, void *owner);

int stream_read_start(struct stream *stream); /* idempotent; 0 or UV_E* */

/* Reads once, without waiting for the loop, if reading has been started. Calls the hooks: only where an I/O callback
 * could run. False when nothing was there to be read. */
bool stream_read_now(struct stream *stream);
void stream_read_stop(struct stream *stream);

/* Writes at once as much as the kernel takes and copies the rest to a queue (see queued_bytes, on_drain).
 * 0, UV_EPIPE after a shut-down or close, UV_ECANCELED when the master has taken the loan back (close it), UV_E*. */
int stream_write(struct stream *stream, const char *bytes, size_t len);

/* The same for bytes that complete every answer that is owed, while nothing of another request has been read: if all of them
 * go out at once the loan is IDLE on return, and a worker that is killed right behind the write has answered. */
int stream_answer(struct stream *stream, const char *bytes, size_t len);

/* Sends FIN once the queue is empty; reading goes on. */
int stream_shutdown(struct stream *stream);

/* Ends the connection: shutdown(2) so that the client sees it although the master holds a descriptor, close, DONE.
 * Queued writes are dropped. reset: the client gets RST instead (SO_LINGER 0). Idempotent; on_closed follows. */
void stream_close(struct stream *stream);
void stream_reset(struct stream *stream);

/* Gives an UNTOUCHED or IDLE connection back to the master until bytes arrive: closes the duplicate without
 * shutdown. keep_ms: how long it may stay in the lobby, 0 = for ever. False when it cannot be parked (unowned, no loan,
 * bytes queued, or in another state): it goes on as it was. */
bool stream_park(struct stream *stream, uint32_t keep_ms);

/* Publishes the state of the loan (IDLE, READING, RESPONDING, HELD). Leaving IDLE or UNTOUCHED is a compare-and-swap:
 * false when the master has taken the loan back; then touch nothing, call stream_close. Cheap and true without a loan. */
bool stream_publish(struct stream *stream, enum loan_state state);

/* A look at bytes that have come, without reading them. How many; 0 at the end, UV_E*. */
int stream_peek(const struct stream *stream, char *bytes, size_t size);

/* Whether the kernel holds bytes that have not been read. */
bool stream_has_unread(const struct stream *stream);
enum loan_state stream_state(const struct stream *stream);

/* Closes the duplicate if the master has taken the loan back; else does nothing. */
void stream_drop_taken(struct stream *stream);

/* All open streams: calls visit for each; visit may close or park the stream it is given. The count is of those that a
 * client or somebody else has opened. */
void stream_each(void (*visit)(struct stream *stream, void *data), void *data);
size_t stream_count(void);

/* The address of the client (remote) or of this side: host as text, port; "unix" and 0 for a unix socket. 0 or UV_E*. */
enum { STREAM_HOST_BYTES = 46 };
int stream_address(const struct stream *stream, bool remote, char host[STREAM_HOST_BYTES], uint16_t *port);

/* Milliseconds of the loop (uv_now). */
uint64_t stream_now_ms(const struct stream *stream);

#endif
