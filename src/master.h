/* MASTER. Ties pools, slots, lobby and listeners to the loop: the turn, the checks, the signals, the end. */
#ifndef CLUA_MASTER_H
#define CLUA_MASTER_H

#include <signal.h>
#include <stdbool.h>

#include <uv.h>

struct pool;
struct slot;

/* Log files are to be opened anew. The signals with a name are taken, or sent by terminals. */
#define MASTER_REOPEN_SIGNAL (SIGRTMIN + 1)

/* Those that a master listens for: initializers of an array. */
#define MASTER_SIGNALS SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU, SIGCHLD, MASTER_REOPEN_SIGNAL

struct master_hooks {
    void (*on_signal)(int signum);        /* TERM, INT, QUIT, USR1, USR2, TTIN, TTOU, MASTER_REOPEN_SIGNAL */
    void (*on_demand)(struct pool *pool); /* on_demand: clients wait, and no worker is there or on the way */
    void (*on_idle)(struct slot *slot); /* on_demand: it has had nothing to do for idle_timeout; said again and again */
    void (*on_finished)(void);          /* after master_finish(): nothing is left, the loop stops */
};

/* Takes over signals and starts the turn. 0 or UV_E*. */
int master_open(uv_loop_t *loop, const struct master_hooks *hooks);

/* Starts accepting on the listeners of a pool. */
int master_accept(struct pool *pool);

/* The longest turn of the loop in this second and the one before. */
uint32_t master_loop_lag_ms(void);

/* The workers are gone: answers and closes what is left in the lobby, then on_finished. at_once: without waiting for
 * clients to take their answers. */
void master_finish(bool at_once);

#endif
