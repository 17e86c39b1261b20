/* MASTER. The pid file: taken with a lock at start, written when the cluster can serve, removed at the end. */
#ifndef CLUA_PIDFILE_H
#define CLUA_PIDFILE_H

#include <stddef.h>

/* Takes the file. A stale one (its master is dead, and the lock with it) is taken over; a live one is UV_EEXIST.
 * 0 or UV_E* with a sentence in `why`. One pid file a process. */
int pidfile_open(const char *path, char *why, size_t why_len);

/* Writes our pid; readers see an empty file or a whole line. 0 or UV_E*. */
int pidfile_publish(void);

/* The descriptor that holds the lock, -1 without a file; and the way back of an upgraded master (same pid). */
int pidfile_fd(void);
void pidfile_adopt(int fd, const char *path);

/* Removes the file if it is still ours. */
void pidfile_close(void);

#endif
