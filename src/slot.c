/* MASTER. See slot.h. */
#include "slot.h"

#include "pool.h"

int slot_send(struct slot *slot, const struct channel_message *message) {
    if (slot->channel_fd < 0) return UV_EPIPE;
    return channel_send(slot->channel_fd, message, NULL, 0);
}

struct slot *slot_of_pid(pid_t pid) {
    for (struct pool *pool = pool_first(); pool; pool = pool->next)
        for (struct slot *slot = pool->slots; slot; slot = slot->next)
            if (slot->pid == pid && slot->state != SLOT_GONE) return slot;
    return NULL;
}

struct slot *slot_of_serial(uint32_t serial) {
    for (struct pool *pool = pool_first(); pool; pool = pool->next)
        for (struct slot *slot = pool->slots; slot; slot = slot->next)
            if (slot->serial == serial && slot->state != SLOT_GONE) return slot;
    return NULL;
}
