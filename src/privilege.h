/* BOTH. Gives up root for good: the worker before its first line of Lua; the master only checks that it will work. */
#ifndef CLUA_PRIVILEGE_H
#define CLUA_PRIVILEGE_H

#include <stddef.h>

/* Becomes user and group (either may be empty: without a group, the user's own). initgroups, setgid, setuid, in that
 * order; all three are verified, and that root cannot be had back. 0, or UV_E* with a sentence in `why`. */
int privilege_drop(const char *user, const char *group, char *why, size_t why_len);

/* MASTER. Whether privilege_drop() can succeed in a worker of this process: the names exist, and we may become them. */
int privilege_check(const char *user, const char *group, char *why, size_t why_len);

#endif
