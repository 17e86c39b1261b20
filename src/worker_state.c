/* WORKER. See worker_state.h. */
#include "worker_state.h"

#include <stddef.h>

static const struct boot *boot;
static bool draining, orphan;

bool worker_is_one(void) {
    return boot != NULL;
}

const struct boot *worker_boot(void) {
    return boot;
}

bool worker_draining(void) {
    return draining;
}

bool worker_is_orphan(void) {
    return orphan;
}

uint32_t worker_linger_ms(void) {
    return boot ? boot->linger_ms : 0;
}

void worker_state_open(const struct boot *told) {
    boot = told;
}

void worker_state_drain(void) {
    draining = true;
}

void worker_state_orphan(void) {
    orphan = true;
}
