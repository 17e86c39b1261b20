/* WORKER. The access log: a line for each request that was answered, or whose handler was called. Lines are gathered
 * during a turn of the loop and go out in one write; several workers append to the same file. */
#ifndef CLUA_HTTP_ACCESS_H
#define CLUA_HTTP_ACCESS_H

#include <stdbool.h>
#include <stdint.h>

struct http_connection;

/* The only thing that is looked at per request while there is no access log. */
extern bool http_access_is_on;

/* From now on lines go to fd, which is this module's. 0 or UV_E*. */
int http_access_open(int fd, const char *format, bool json, uint32_t worker_id, const char *name);

/* The file was opened anew. Lines so far go to the one before. Closes fd when there is no access log. */
void http_access_reopen(int fd);

/* The first byte of the connection's exchange is here; the exchange is over. handled: the handler was called. */
void http_access_begin(struct http_connection *connection);
void http_access_end(struct http_connection *connection, bool handled);

/* Writes what has been gathered. False: some of it has to wait; call again. */
bool http_access_flush(void);

#endif
