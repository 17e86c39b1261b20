/* WORKER. The state machine of an HTTP connection: one step at a time, from facts that are noted in the connection (bytes
 * at hand, end, error, an answer) to the next state. Steps call hooks and prepare output; they leave it to
 * http_connection.c to bring the outside in line. */
#ifndef CLUA_HTTP_STEP_H
#define CLUA_HTTP_STEP_H

#include "http_connection.h"

/* The one writer of `state`. */
void http_enter(struct http_connection *connection, enum http_state state);

/* Takes a step; false when nothing moves any more. */
bool http_step(struct http_connection *connection);

/* The exchange is over: the hooks are told, the pool gets it back. Nothing when there is none. */
void http_exchange_end(struct http_connection *connection, bool complete);

/* Answers what cannot be served, and ends the connection behind the answer; closes it when an answer has begun. */
void http_refuse(struct http_connection *connection, unsigned status);

/* The rest of the request will not come: its readers get `failure`. */
void http_fail_request(struct http_exchange *exchange, int failure);

#endif
