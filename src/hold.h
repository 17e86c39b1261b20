/* WORKER. The worker's side of the bulkhead (bulkhead.h): notices which lines hold up the loop, and leaves a request
 * of such a line unread when this worker is the last that is free, until another one is.
 *
 * A held request has not been read: its loan is UNTOUCHED or IDLE like any other, so the master may take it back,
 * and the death of the worker costs it nothing. Only its first bytes were looked at (MSG_PEEK). Holding is bounded
 * three ways: for one request by a time; for the registration by a share of one worker's time; and each hold is paid
 * for by a fast request served before, since it is for their sake: where everything is slow nothing is held.
 *
 * What has been read is executed (pipelined requests, and whatever comes while another worker is free and is not so
 * any more when it is called). */
#ifndef CLUA_HOLD_H
#define CLUA_HOLD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct held {
    struct held *next, **back; /* back NULL: not held */
    uint64_t since_ns, until_ms;
    bool due; /* is to be read now, whatever others do */
};

struct hold {
    const _Atomic uint64_t *known; /* 0: no line is known to be slow */
    uint64_t slow_after_ns;
    bool concerned; /* something of this turn is to be looked at when it ends */
};
extern struct hold hold;

/* Of a worker whose registration holds (slow_after); without it nothing is ever slow. 0 or UV_E*. */
int hold_open(uv_loop_t *loop);

/* A look at one word, for every request: nearly always false. */
static inline bool hold_knows(void) {
    return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)hold.known, memory_order_relaxed) != 0;
}

/* Bytes wait on a socket whose loan can still be taken. True: read them. False: they stay where they are; `resume`
 * follows, from the loop, when they are to be read. Call only if hold_knows(). */
bool hold_admit(struct held *held, int fd, void (*resume)(struct held *held));

/* It is not held any more, or never was. */
void hold_forget(struct held *held);

/* The handler of a request with this line is about to run. Call only if hold_knows(). Returns the line's name, for
 * hold_ended(). */
uint64_t hold_begins(const char *line, size_t len);

/* Code of the request with this ticket (blame.h) that has waited is about to run. */
void hold_goes_on(uint32_t ticket);

/* A request has ended that was begun then. name: of hold_begins(), 0 if that was not called. Call only if it is not
 * 0 or the time is at least hold.slow_after_ns. */
void hold_ended(uint64_t name, const char *line, size_t len, uint64_t begun_ns, uint64_t took_ns);

/* The loop is about to wait. Call only if hold.concerned. */
void hold_turn_ends(uint64_t now_ms);

/* Once a second or so. */
void hold_age(void);

#endif
