/* BOTH. A file, FIFO or terminal that lines are appended to by several processes. Nothing here ever waits. */
#ifndef CLUA_LOG_FILE_H
#define CLUA_LOG_FILE_H

#include <stddef.h>

/* Opens for appending; makes a file that is not there (mode 0640 less the umask). "/dev/stdout" and "/dev/stderr" are
 * what this process has there, also when that is a socket. 0 with *fd (CLOEXEC), or UV_E*. */
int log_file_open(const char *path, int *fd);

/* Could log_file_open() succeed? Makes nothing. 0 or UV_E*. */
int log_file_check(const char *path);

/* Writes in as few write(2) as can be: one for a file. *done: bytes that have been written. 0; UV_EAGAIN when the rest
 * would have to wait; UV_E*. */
int log_file_write(int fd, const char *bytes, size_t len, size_t *done);

#endif
