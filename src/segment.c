/* BOTH. Creating, mapping and checking a worker's segment, and its ring; see segment.h for who writes what.
 *
 * Ring: the worker stores the entry, then head (release); the master loads head (acquire), then the entry.
 * Sleep: the master stores `want` and then looks at head; the worker stores head and then looks at `want`. With a full
 * fence between the two steps on either side at least one of them sees the other, so no entry waits without a doorbell. */
#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

_Static_assert((SEGMENT_RING_ENTRIES & (SEGMENT_RING_ENTRIES - 1)) == 0, "ring positions wrap by masking");
_Static_assert(sizeof(struct completion) == 16, "entries are compact");

const char *loan_state_name(uint32_t state) {
    static const char *const names[] = {
#define X(name, text) [LOAN_##name] = text,
        LOAN_STATES(X)
#undef X
    };
    return state < LOAN_STATE_COUNT ? names[state] : "?";
}

int segment_create(struct segment **out, int *fd_out) {
    int err;
    int fd = memfd_create("clua-segment", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return -errno;
    if (ftruncate(fd, sizeof(struct segment)) < 0) {
        err = -errno;
        goto fail;
    }
    /* A worker that could shrink the file would kill the master with SIGBUS. */
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        err = -errno;
        goto fail;
    }
    void *memory = mmap(NULL, sizeof(struct segment), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        err = -errno;
        goto fail;
    }
    struct segment *segment = memory;
    segment->magic = SEGMENT_MAGIC;
    segment->layout = SEGMENT_LAYOUT;
    *out = segment;
    *fd_out = fd;
    return 0;
fail:
    close(fd);
    return err;
}

int segment_map(int fd, struct segment **out) {
    struct stat st;
    if (fstat(fd, &st) < 0) return -errno;
    if ((size_t)st.st_size != sizeof(struct segment)) return UV_EPROTO;
    void *memory = mmap(NULL, sizeof(struct segment), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) return -errno;
    struct segment *segment = memory;
    if (segment->magic != SEGMENT_MAGIC || segment->layout != SEGMENT_LAYOUT) {
        munmap(memory, sizeof(struct segment));
        return UV_EPROTO;
    }
    *out = segment;
    return 0;
}

void segment_unmap(struct segment *segment) {
    munmap(segment, sizeof *segment);
}

bool segment_push(struct segment *segment, struct completion entry) {
    uint32_t head = atomic_load_explicit(&segment->ring_head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&segment->ring_tail, memory_order_acquire);
    if (head - tail >= SEGMENT_RING_ENTRIES) return false;
    segment->ring[head & (SEGMENT_RING_ENTRIES - 1)] = entry;
    atomic_store_explicit(&segment->ring_head, head + 1, memory_order_release);
    return true;
}

int segment_pop(struct segment *segment, uint32_t *tail, struct completion *out) {
    uint32_t head = atomic_load_explicit(&segment->ring_head, memory_order_acquire);
    if (head == *tail) return 0;
    if (head - *tail > SEGMENT_RING_ENTRIES) return UV_EPROTO;
    *out = segment->ring[*tail & (SEGMENT_RING_ENTRIES - 1)];
    atomic_store_explicit(&segment->ring_tail, ++*tail, memory_order_release);
    return 1;
}

bool segment_wanted(struct segment *segment, uint32_t bits) {
    atomic_thread_fence(memory_order_seq_cst);
    if ((atomic_load_explicit(&segment->want, memory_order_relaxed) & bits) == 0) return false;
    return (atomic_fetch_and(&segment->want, ~bits) & bits) != 0;
}
