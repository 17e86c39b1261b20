/* MASTER. The file of the control socket: a unix socket of mode 0600 that one master listens on. What is said there is
 * lua/clua/control.lua; src/README.md describes it. One control socket a process. */
#ifndef CLUA_CONTROL_H
#define CLUA_CONTROL_H

#include <stddef.h>
#include <sys/types.h>

/* Binds and listens. A file that no master listens on is replaced, a live one is UV_EADDRINUSE. The descriptor, or UV_E*
 * with a sentence in `why`. */
int control_open(const char *path, char *why, size_t why_len);

/* The way back of an upgraded master. */
void control_adopt(int fd, const char *path, const char *link);

/* -1 without one. */
int control_fd(void);

/* A symbolic link to the socket, where `clua ps` looks for it. 0 or UV_E*. */
int control_link(const char *link);

/* Removes socket and link if they are still ours. The descriptor stays open, and is not known here any more. */
void control_remove(void);

/* Who is at the other end: 0 or UV_E*. */
int control_peer(int fd, uid_t *uid, pid_t *pid);

/* Removes a socket, or a link to one, that nobody listens on. 1: somebody does, 0: removed; or UV_E*. */
int control_sweep(const char *path);

#endif
