/* WORKER. The life of the borrowing side: it starts, takes what the master sends over the channel, drains when told, and
 * exits. Beside it: what others ask of it (worker_state.h), what it tells the master (worker_send.h), and the accounting
 * (worker_figures.h). */
#ifndef CLUA_WORKER_H
#define CLUA_WORKER_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct stream;

struct worker_hooks {
    void (*on_loan)(struct stream *stream); /* a connection to serve; its stream has no hooks yet */
    void (*on_message)(const char *bytes, size_t len);
    void (*on_evaluate)(const char *bytes, size_t len);
    void (*on_answer)(uint32_t what, const char *bytes, size_t len); /* bytes NULL: it could not be taken */
    void (*on_drain)(void); /* told to finish: by the master, by SIGTERM, or because the master has died */
    void (*on_exit)(void);  /* all is finished: the process ends with status 0 after this */
    size_t (*heap_bytes)(void);
};

/* Takes over the inherited channel and segment; drops privileges. Called before Lua exists. 0, or UV_E* after having
 * logged why. */
int worker_open(uv_loop_t *loop);

/* From now on loans are wanted: the master is told when the turn ends, unless the script fails before. term_timeout_ms:
 * how long this worker may drain. */
void worker_ready(const struct worker_hooks *hooks, uint32_t term_timeout_ms);

/* Hooks without being ready yet (messages, drain). heap_bytes of the figures come from here too. */
void worker_set_hooks(const struct worker_hooks *hooks);

/* Finishes as if the master had said so, telling it (SIGTERM does the same). */
void worker_leave(void);

#endif
