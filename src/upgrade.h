/* MASTER. Upgrade in place: the master replaces itself by another binary and keeps its pid, its workers and every
 * descriptor. What the new one must know crosses in a memfd; lua_upgrade.c says what stands in it.
 *
 * Nothing is lost in between: rings and channels are memory and kernel buffers, a death waits as a zombie, a signal is
 * blocked over the exec, and noted until the new master listens for it. */
#ifndef CLUA_UPGRADE_H
#define CLUA_UPGRADE_H

#include <stdbool.h>
#include <stddef.h>

enum { UPGRADE_STATE_VERSION = 4 };

/* Called first in main(): remembers how this process was started. After an exec nothing that was inherited goes on to what
 * the script may start. */
void upgrade_remember(int argc, char **argv);

/* The path that an upgrade executes: where this binary was when it started. "" when unknown. */
const char *upgrade_program(void);

/* The working directory at that time, from which relative arguments are to be seen. "." when unknown. */
const char *upgrade_directory(void);

/* Executes upgrade_program() there, with the same arguments and this state; every descriptor of pools, slots, connections and
 * the pid file is inherited. Returns only on failure, with UV_E*: then everything is as it was. */
int upgrade_exec(const char *state, size_t len);

/* The state that this process was started with: 0 with *state (malloc) and *len; UV_ENOENT when it is a first start. */
int upgrade_take_state(char **state, size_t *len);

/* Signals wait in the kernel, across the exec; unblock where that has failed. What libuv has caught before is in its own
 * pipe, which the exec closes: give the loop a turn in between. */
void upgrade_block_signals(void);
void upgrade_unblock_signals(void);

/* The new master has all that is its: signals that have come meanwhile are raised. */
void upgrade_adopted(void);

/* Whether it has: then an error of the script ends nothing any more. */
bool upgrade_has_adopted(void);

#endif
