/* WORKER. Reason phrases (RFC 9110 §15 and the registry). */
#ifndef CLUA_HTTP_REASON_H
#define CLUA_HTTP_REASON_H

/* The phrase of a status; "Unknown" if it has none. */
const char *http_reason(unsigned status);

#endif
