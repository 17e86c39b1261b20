/* MASTER. Lending connections to a slot and getting them back; see segment.h for the states.
 *
 * The master keeps its own descriptor of every lent connection (unless descriptors run short), so that a loan can end
 * without the worker's help. A loan index is used again only when its completion has been read, or its worker is dead. */
#ifndef CLUA_LOAN_H
#define CLUA_LOAN_H

#include <stdbool.h>
#include <stdint.h>

#include "slot.h"

/* Whether the slot may be given one more connection now. */
bool loan_can_take(const struct slot *slot, uint64_t now_ms);

/* Whether it has taken all that was sent to it before this turn. */
bool loan_has_taken_all(const struct slot *slot);

/* Requests in execution, by the worker's word, and connections on their way to it. */
uint32_t loan_load(const struct slot *slot);

/* Adds the connection (in no list) to the slot's batch; loan_flush() sends it. False: no index or no memory left. */
bool loan_add(struct slot *slot, struct connection *connection);

/* Sends the batch. What cannot be sent goes back to the front of the lobby. 0 or UV_E*; UV_EAGAIN: the channel is full. */
int loan_flush(struct slot *slot);

/* Reads the ring and ends loans. False when the worker has written nonsense there: end it. */
bool loan_collect(struct slot *slot);

/* The worker is dead: lends again, answers or closes each of its connections, as its state says. */
void loan_settle(struct slot *slot);

/* UPGRADE. The first loan index at or after `from` that waits for its COMPLETION_DROP; SEGMENT_LOANS when there is none. */
uint32_t loan_next_taken(const struct slot *slot, uint32_t from);

/* UPGRADE. Puts a loan of the master before this one back in place; connection NULL: it had been taken back.
 * 0, UV_EINVAL for an index that is out of range or in use, UV_ENOMEM. loan_adopted() after the last one. */
int loan_adopt(struct slot *slot, uint32_t loan, struct connection *connection);
void loan_adopted(struct slot *slot);

/* A new worker starts level with the others, so that it does not get every connection until it has caught up. */
void loan_level(struct slot *slot);

/* The worker's loop does not come back: takes back what it has not touched and watches what is idle. A bounded piece of
 * work; call again on the next check. loan_release_watches() when the worker runs again. */
void loan_rescue(struct slot *slot);
void loan_release_watches(struct slot *slot);

/* A watched connection of a stuck worker has bytes waiting. */
void loan_readable(struct connection *connection);

#endif
