/* WORKER. The borrowing side: receives loans over the channel, publishes load figures, drains when told.
 *
 * Also compiled into a process that is no worker (any script run by `clua script.lua`): then there is no channel, no
 * loan, and the figures go nowhere. */
#ifndef CLUA_WORKER_H
#define CLUA_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "segment.h"
#include "stream.h"

struct worker_hooks {
    void (*on_loan)(struct stream *stream); /* a connection to serve; its stream has no hooks yet */
    void (*on_message)(const char *bytes, size_t len);
    void (*on_evaluate)(const char *bytes, size_t len);
    void (*on_answer)(uint32_t what, const char *bytes, size_t len); /* bytes NULL: it could not be taken */
    void (*on_drain)(void); /* told to finish: by the master, by SIGTERM, or because the master has died */
    void (*on_exit)(void);  /* all is finished: the process ends with status 0 after this */
    size_t (*heap_bytes)(void);
};

/* Takes over the inherited channel and segment; drops privileges. Called before Lua exists. 0, or UV_E* after having
 * logged why. */
int worker_open(uv_loop_t *loop);

/* From now on loans are wanted: tells the master. term_timeout_ms: how long this worker may drain. */
void worker_ready(const struct worker_hooks *hooks, uint32_t term_timeout_ms);

/* Hooks without being ready yet (messages, drain). heap_bytes of the figures come from here too. */
void worker_set_hooks(const struct worker_hooks *hooks);

/* Finishes as if the master had said so, telling it (SIGTERM does the same). */
void worker_leave(void);

/* The script's own accounting: `remain` and `scores`. */
void worker_set_remain(int32_t remain);

/* Publishes a value under a key (cut to the segment's sizes). 0, UV_ENOSPC when there are too many keys. */
int worker_set_value(const char *key, const char *value);

/* A message to the workers of a registration; pid 0: all of them. 0, UV_E2BIG, UV_EAGAIN when the channel is full. */
int worker_broadcast(const char *name, const char *bytes, size_t len, uint32_t pid);

/* Asks the master (enum ask_what); on_answer follows, if the master answers. 0, UV_ENOTSUP when this is no worker, UV_E*. */
int worker_ask(uint32_t what);

/* Figures of this process; a private dummy when it is no worker. Never NULL. */
struct figures *worker_figures(void);

/* True in a process that the master started. */
bool worker_is_one(void);
const struct boot *worker_boot(void); /* NULL when it is none */

/* True once drained connections are to be given back as soon as they are idle. */
bool worker_draining(void);

/* Idle time after which a keep-alive connection is parked, in milliseconds. */
uint32_t worker_linger_ms(void);

/* Tells the master, once, that clients of this protocol send first, so that it may defer accepting. */
void worker_clients_speak_first(void);

/* Count a request that begins and ends: `remain` and `scores`, and what follows from them (maxc, drain). */
void worker_request_begin(void);
void worker_request_end(void);

/* Counts an answer; one to a request that a handler was called for also with the time that it took. */
void worker_answered(unsigned status);
void worker_request_took(uint64_t ns);

#endif
