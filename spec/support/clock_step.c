/* Not a part of clua. Preloaded by a spec (LD_PRELOAD): the clock of the day is wrong by as many seconds as stand in the
 * file that CLUA_SPEC_CLOCK names, a number of eight bytes which the spec changes while the program runs. The monotonic
 * clock is left alone, as in a machine whose time is set. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t step(void) {
    static volatile const int64_t *seconds;
    static const int64_t none = 0;
    if (!seconds) {
        const char *path = getenv("CLUA_SPEC_CLOCK");
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *memory = fd >= 0 ? mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
        seconds = memory == MAP_FAILED ? &none : memory;
        if (fd >= 0) close(fd);
    }
    return (time_t)*seconds;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, id, now);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += step();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int result = (int)syscall(SYS_gettimeofday, now, zone);
    if (result == 0) now->tv_sec += step();
    return result;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
