/* WORKER. See worker_send.h. Writes to the inherited channel, which worker.c owns and reads. */
#include "worker_send.h"

#include <string.h>
#include <uv.h>

#include "worker_state.h"

static struct channel_message outgoing;
static unsigned asked_to_leave; /* a bit for each enum leave_reason */
static bool told_ready, told_first;

static int send_packet(enum channel_type type, uint32_t len) {
    if (worker_is_orphan()) return UV_EPIPE;
    outgoing.head = (struct channel_head){.type = (uint16_t)type, .len = len};
    return channel_send(CHANNEL_FD, &outgoing, NULL, 0);
}

void worker_send_ready(uint32_t term_timeout_ms) {
    told_ready = true;
    outgoing.u.ready.term_timeout_ms = term_timeout_ms;
    send_packet(CHANNEL_READY, sizeof outgoing.u.ready);
}

/* Each reason once: that it drains by itself (TERM) is news also after it has asked to be replaced. */
void worker_send_leave(enum leave_reason reason) {
    if ((asked_to_leave & 1U << reason) || !told_ready) return;
    outgoing.u.leave.reason = reason;
    if (send_packet(CHANNEL_LEAVE, sizeof outgoing.u.leave) == 0) asked_to_leave |= 1U << reason;
}

/* A full channel holds packets that wake the master as well as this one would. */
void worker_send_doorbell(void) {
    send_packet(CHANNEL_DOORBELL, 0);
}

void worker_clients_speak_first(void) {
    if (!worker_is_one() || told_first) return;
    told_first = send_packet(CHANNEL_FIRST, 0) == 0;
}

int worker_broadcast(const char *name, const char *bytes, size_t len, uint32_t pid) {
    size_t name_len = strlen(name);
    struct channel_message *message = &outgoing;
    if (!worker_is_one()) return UV_ENOTSUP;
    if (name_len + len > sizeof message->u.broadcast.bytes) return UV_E2BIG;
    message->u.broadcast.pid = pid;
    message->u.broadcast.name_len = (uint32_t)name_len;
    memcpy(message->u.broadcast.bytes, name, name_len);
    memcpy(message->u.broadcast.bytes + name_len, bytes, len);
    return send_packet(CHANNEL_BROADCAST, (uint32_t)(8 + name_len + len));
}

int worker_ask(uint32_t what) {
    if (!worker_is_one()) return UV_ENOTSUP;
    outgoing.u.ask.what = what;
    return send_packet(CHANNEL_ASK, sizeof outgoing.u.ask);
}
