/* WORKER. See worker_loans.h. */
#include "worker_loans.h"

#include <sys/socket.h>
#include <unistd.h>

#include "borrow.h"
#include "channel.h"
#include "log.h"
#include "stream.h"
#include "worker_state.h"

enum { LUCK_MAX = 8, TRY_EVERY = 32 }; /* see expects_bytes() */

static unsigned luck; /* of late, first bytes were there at once: 0 (no) to LUCK_MAX */

/* Descriptors missing from the packet (see channel_receive): the master keeps its own and lends elsewhere. */
static void return_loan(const struct channel_loan *loan) {
    borrow_complete(loan->loan, COMPLETION_BACK, 1, loan->written, true);
}

/* Only connections of unix sockets come without a port. */
static int open_loan(uv_loop_t *loop, const struct channel_loan *loan, int fd, struct stream **stream) {
    return stream_open_unattached(loop, fd, loan->port != 0 ? AF_INET : AF_UNSPEC, stream);
}

/* Is the client's first byte here already? SPOKEN says so; of the others the last ones tell, since it depends on how far
 * away clients are. A read in vain is cheaper than the three calls around one for which the loop has waited. */
static bool expects_bytes(const struct channel_loan *loan) {
    static unsigned since_tried;
    if ((loan->flags & CHANNEL_LOAN_SPOKEN) || luck > 0) return true;
    since_tried = (since_tried + 1) % TRY_EVERY;
    return since_tried == 0;
}

/* Acts on what is there already: a short exchange is over before the loop has heard of the descriptor. */
static void begin_loan(const struct channel_loan *loan) {
    struct stream *stream = stream_of_loan(loan->loan);
    if (!stream) return;
    if (stream->reading && expects_bytes(loan)) {
        bool lucky = stream_read_now(stream);
        if (lucky && luck < LUCK_MAX) luck++;
        if (!lucky && luck > 0) luck--;
    }
    int err = stream_attach(stream); /* one that has ended is freed later, by the loop */
    if (err == 0) return;
    log_write(CLUA_LOG_WARN, "cannot watch a connection: %s", uv_strerror(err));
    stream_close(stream);
}

static struct stream *take_loan(uv_loop_t *loop, const struct channel_loan *loan, int fd) {
    struct stream *stream;
    if (atomic_load(borrow_word(loan->loan)) == LOAN_TAKEN) { /* taken back while the packet was on its way */
        close(fd);
        borrow_complete(loan->loan, COMPLETION_DROP, 0, loan->written, true);
        return NULL;
    }
    int err = worker_draining() ? UV_ECANCELED : open_loan(loop, loan, fd, &stream);
    if (err < 0) {
        close(fd);
        return_loan(loan);
        if (!worker_draining()) log_write(CLUA_LOG_WARN, "cannot take a connection: %s", uv_strerror(err));
        return NULL;
    }
    stream_borrow(stream, loan);
    return stream;
}

void worker_loans_take(uv_loop_t *loop, const struct channel_message *message, const int *fds, size_t fd_count,
                       void (*on_loan)(struct stream *stream)) {
    const struct channel_loan *loans = message->u.loans;
    size_t count = message->head.count;
    if (fd_count < count)
        log_write(CLUA_LOG_WARN, "out of descriptors: %zu of %zu connections given back", count - fd_count, count);
    for (size_t i = fd_count; i < count; i++) return_loan(&loans[i]);
    /* After the returns: once all is taken the master may close its copies of connections that it cannot keep. */
    atomic_fetch_add_explicit(&borrow_figures()->loans_taken, (uint32_t)count, memory_order_release);
    borrow_notify(WANT_TAKEN);
    for (size_t i = 0; i < fd_count; i++) {
        struct stream *stream = take_loan(loop, &loans[i], fds[i]);
        if (stream) on_loan(stream);
    }
    for (size_t i = 0; i < fd_count; i++) begin_loan(&loans[i]);
}

void worker_loans_drop(const struct channel_message *message) {
    for (size_t i = 0; i < message->head.count; i++) {
        struct stream *stream = stream_of_loan(message->u.recalled[i]);
        if (stream) stream_drop_taken(stream);
    }
}
