/* WORKER. The text of the Date header (RFC 9110 §5.6.7), formatted once a second. */
#ifndef CLUA_HTTP_DATE_H
#define CLUA_HTTP_DATE_H

#include <stdint.h>

enum { HTTP_DATE_LEN = 29 };

/* "Sun, 06 Nov 1994 08:49:37 GMT", not ended by NUL; valid until the next call. now_ms: the loop's time. */
const char *http_date(uint64_t now_ms);

#endif
