/* WORKER. See stream.h: the word of a stream's loan, and the ways in which a loan ends. */
#include <sys/socket.h>

#include "borrow.h"
#include "channel.h"
#include "stream_private.h"

static struct stream *by_loan[SEGMENT_LOANS];

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

enum loan_state stream_state(const struct stream *stream) {
    return stream_word(stream);
}

bool stream_publish(struct stream *stream, enum loan_state state) {
    if (stream->loan == STREAM_NO_LOAN) return true;
    if (stream->closing) return false;
    _Atomic uint32_t *word = borrow_word(stream->loan);
    uint32_t now = atomic_load_explicit(word, memory_order_relaxed);
    if (now == (uint32_t)state) return true;
    if (now == LOAN_TAKEN) return false;
    if (stream_can_be_taken(now)) return loan_swap(word, (enum loan_state)now, state);
    if (state == LOAN_RESPONDING && now == LOAN_READING) borrow_begun(stream->loan, stream->written);
    atomic_store_explicit(word, (uint32_t)state, memory_order_release);
    return true;
}

/* Ends the loan and closes the handle. The descriptor is closed inside uv_close, so the entry goes into the ring after
 * it: a master that lends the connection again never finds our epoll registration still there. */
static void finish(struct stream *stream, enum completion_kind kind, uint32_t aux, bool urgent) {
    if (stream->closing) return;
    stream_end(stream);
    if (stream->loan == STREAM_NO_LOAN) return;
    by_loan[stream->loan] = NULL; /* from the entry on the master may lend under this index again */
    borrow_complete(stream->loan, kind, aux, stream->written, urgent);
}

/* Wins the loan for good before the connection is ended; false when it is another worker's by now. */
static bool win(struct stream *stream) {
    if (stream->loan == STREAM_NO_LOAN) return true;
    return !stream_is_taken(stream) && stream_publish(stream, (enum loan_state)stream->claim);
}

void stream_close(struct stream *stream) {
    if (stream->closing) return;
    if (!win(stream)) {
        finish(stream, COMPLETION_DROP, 0, true);
        return;
    }
    if (stream->loan != STREAM_NO_LOAN) shutdown(stream_fd(stream), SHUT_RDWR);
    finish(stream, COMPLETION_DONE, 0, false);
}

void stream_reset(struct stream *stream) {
    if (stream->closing) return;
    if (!win(stream)) {
        finish(stream, COMPLETION_DROP, 0, true);
        return;
    }
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(stream_fd(stream), SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    finish(stream, COMPLETION_DONE, 0, true); /* the RST goes out when the master closes the last descriptor */
}

bool stream_park(struct stream *stream, uint32_t keep_ms) {
    if (stream->closing || stream->loan == STREAM_NO_LOAN || stream->unowned || stream->queued_bytes > 0) return false;
    if (stream->shut || stream->shut_after_write || stream->ended) return false;
    uint32_t state = stream_word(stream);
    if (state == LOAN_TAKEN) {
        finish(stream, COMPLETION_DROP, 0, true);
        return true;
    }
    if (!stream_can_be_taken(state)) return false;
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

void stream_drop_taken(struct stream *stream) {
    if (!stream->closing && stream_is_taken(stream)) finish(stream, COMPLETION_DROP, 0, true);
}
