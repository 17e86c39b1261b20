/* WORKER. What a worker tells its master: one packet each, over the inherited channel. Nothing here waits. */
#ifndef CLUA_WORKER_SEND_H
#define CLUA_WORKER_SEND_H

#include <stddef.h>
#include <stdint.h>

#include "channel.h"

/* Loans are wanted, and draining takes so long at most. */
void worker_send_ready(uint32_t term_timeout_ms);

/* It wants to be replaced; each reason is told once, and none before it was ready. */
void worker_send_leave(enum leave_reason reason);

/* Wakes the master. */
void worker_send_doorbell(void);

/* Tells the master, once, that clients of this protocol send first, so that it may defer accepting. */
void worker_clients_speak_first(void);

/* A message to the workers of a registration; pid 0: all of them. 0, UV_E2BIG, UV_EAGAIN when the channel is full. */
int worker_broadcast(const char *name, const char *bytes, size_t len, uint32_t pid);

/* Asks the master (enum ask_what); on_answer follows, if the master answers. 0, UV_ENOTSUP when this is no worker, UV_E*. */
int worker_ask(uint32_t what);

#endif
