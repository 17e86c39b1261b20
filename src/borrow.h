/* WORKER. The words and the ring that a worker writes about its loans. Nothing here does I/O but the doorbell. */
#ifndef CLUA_BORROW_H
#define CLUA_BORROW_H

#include <stdbool.h>
#include <stdint.h>

#include "segment.h"

/* Called when the master has asked to be woken; sends the doorbell byte. */
typedef void (*borrow_ring_fn)(void);

/* Without borrow_open there is no loan in this process, and the figures and what is served go to a private dummy. */
void borrow_open(struct segment *segment, borrow_ring_fn ring);

struct figures *borrow_figures(void);
struct served *borrow_served(void);
struct segment *borrow_segment(void); /* NULL without borrow_open */

/* The word of a loan; index below SEGMENT_LOANS. */
_Atomic uint32_t *borrow_word(uint32_t loan);

/* Says how many bytes the connection had been given when an answer began. */
void borrow_begun(uint32_t loan, uint32_t written);

/* Says how many bytes the connection will have been given when the write that follows is done (LOAN_ANSWERED). */
void borrow_answered(uint32_t loan, uint32_t written);

/* Ends a loan. Kept and tried again by borrow_flush() when the ring is full. A DONE is no news that the master needs at
 * once, so it rings only when many wait; `urgent` and every other kind ring if the master sleeps. */
void borrow_complete(uint32_t loan, enum completion_kind kind, uint32_t aux, uint32_t written, bool urgent);

/* Pushes what did not fit; true when nothing is left. */
bool borrow_flush(void);

/* The turn of the loop: the first callback that runs after the poll says that the worker is busy, the prepare handle
 * that it is about to wait again. libuv runs I/O callbacks inside its poll phase, before any check handle, so whoever
 * is called first must say so. Cheap when it has been said. */
void borrow_busy(uint64_t now_ms);
void borrow_waits(void);

/* Rings the doorbell if the master waits for one of these events (WANT_*). */
void borrow_notify(uint32_t bits);

#endif
