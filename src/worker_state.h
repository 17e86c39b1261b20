/* WORKER. What this process is, for all who serve clients: they ask here, and need know nothing of channel and loop.
 *
 * Also compiled into a process that is no worker (any script run by `clua script.lua`), which never drains. */
#ifndef CLUA_WORKER_STATE_H
#define CLUA_WORKER_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "segment.h"

/* True in a process that the master started. */
bool worker_is_one(void);
const struct boot *worker_boot(void); /* NULL when it is none */

/* True once drained connections are to be given back as soon as they are idle. */
bool worker_draining(void);

/* True once the master has died: nobody hears what is said. */
bool worker_is_orphan(void);

/* Idle time after which a keep-alive connection is parked, in milliseconds. */
uint32_t worker_linger_ms(void);

/* For worker.c, which makes it so: from now on this is a worker; it drains; it is an orphan. */
void worker_state_open(const struct boot *boot);
void worker_state_drain(void);
void worker_state_orphan(void);

#endif
