/* WORKER. Sends a part of a file as body bytes, from the page cache to the socket (sendfile(2)).
 *
 * The descriptor stays the caller's and must stay open until exchange->file_left is 0 or the exchange has ended. */
#ifndef CLUA_HTTP_FILE_H
#define CLUA_HTTP_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "http_connection.h"

enum {
    HTTP_FILE_TURN_BYTES = 2 * 1024 * 1024, /* sent in one turn of the loop: others want to be served too */
    HTTP_FILE_SMALL_BYTES = 8 * 1024,       /* up to which a copy costs less than sendfile(2) */
    HTTP_FILE_COPY_BYTES = 32 * 1024,       /* at a time, where the file system knows no sendfile(2) */
    HTTP_FILE_WAIT_BYTES = 4 * 1024,        /* that tell when a full socket has room again */
};

/* Puts the whole part, if it is small, behind the output that has not been sent yet, and so into one packet with the
 * head. False: it is too long, or the client is to be waited for; use http_file_pump(). */
bool http_file_gather(struct http_connection *connection);

/* Sends what the socket takes. A file that has become shorter breaks the connection: its length has been promised. */
void http_file_pump(struct http_connection *connection);

#endif
