/* MASTER. Upgrade in place: the master replaces itself by another binary and keeps its pid, its workers and every
 * descriptor. What the new one must know crosses in a memfd; lua_upgrade.c says what stands in it.
 *
 * Nothing is lost in between: rings and channels are memory and kernel buffers, a death waits as a zombie, a signal is
 * blocked until the new master listens for it. */
#ifndef CLUA_UPGRADE_H
#define CLUA_UPGRADE_H

#include <stddef.h>

enum { UPGRADE_STATE_VERSION = 4 };

/* Called first in main(): remembers how this process was started. */
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

/* Signals wait in the kernel, across the exec, until the new master lets them through. What libuv has caught before is in
 * its own pipe, which the exec closes: give the loop a turn in between. */
void upgrade_block_signals(void);
void upgrade_unblock_signals(void);

#endif
