/* BOTH. See shared.h. */
#include "shared.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

static struct shared *of_process;

static int fill_keys(struct shared *shared) {
    uint64_t keys[4];
    if (getrandom(keys, sizeof keys, 0) != (ssize_t)sizeof keys) return -errno;
    for (int i = 0; i < 2; i++) {
        shared->buckets.key[i] = keys[i];
        shared->bulkhead.key[i] = keys[i + 2];
    }
    return 0;
}

int shared_create(int *fd_out) {
    int err = 0;
    int fd = memfd_create("clua-shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return -errno;
    struct shared *shared = MAP_FAILED;
    if (ftruncate(fd, sizeof *shared) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        err = -errno;
    if (err == 0) shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (err == 0) err = shared == MAP_FAILED ? -errno : fill_keys(shared);
    if (shared != MAP_FAILED) shared_unmap(shared);
    if (err < 0) {
        close(fd);
        return err;
    }
    *fd_out = fd;
    return 0;
}

int shared_map(int fd, struct shared **out) {
    struct stat st;
    if (fstat(fd, &st) < 0) return -errno;
    if ((size_t)st.st_size != sizeof(struct shared)) return UV_EPROTO;
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) return -errno;
    *out = shared;
    return 0;
}

void shared_unmap(struct shared *shared) {
    munmap(shared, sizeof *shared);
}

int shared_open(int fd) {
    return shared_map(fd, &of_process);
}

struct shared *shared_of_process(void) {
    if (of_process) return of_process;
    void *memory = mmap(NULL, sizeof *of_process, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    if (fill_keys(memory) < 0) {
        shared_unmap(memory);
        return NULL;
    }
    of_process = memory;
    return of_process;
}
