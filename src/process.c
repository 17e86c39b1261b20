/* BOTH. See process.h. */
#include "process.h"

#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The beginning of a file of /proc, as much as fits into `text`; false when there is none. */
static bool read_text(const char *path, char *text, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    if (n <= 0) return false;
    text[n] = '\0';
    return true;
}

uint64_t process_rss_bytes(void) {
    char text[128];
    if (!read_text("/proc/self/statm", text, sizeof text)) return 0;
    unsigned long long size, resident;
    if (sscanf(text, "%llu %llu", &size, &resident) != 2) return 0;
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t in_us(struct timeval time) {
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

static uint64_t cpu_us(int whose) {
    struct rusage usage;
    if (getrusage(whose, &usage) < 0) return 0;
    return in_us(usage.ru_utime) + in_us(usage.ru_stime);
}

uint64_t process_cpu_us(void) {
    return cpu_us(RUSAGE_SELF);
}

uint64_t process_thread_cpu_us(void) {
    return cpu_us(RUSAGE_THREAD);
}

uint64_t process_cpu_ns_of(pid_t pid) {
    clockid_t clock;
    struct timespec time;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) < 0) return 0;
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

char process_state_of(pid_t pid) {
    char path[32], text[256];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (!read_text(path, text, sizeof text)) return 0;
    const char *behind_name = strrchr(text, ')'); /* a name may have any byte in it */
    return behind_name && behind_name[1] == ' ' ? behind_name[2] : 0;
}

/* Size of the table of descriptors: none of them has a greater number. */
static uint32_t fd_table_size(void) {
    char text[4096];
    if (!read_text("/proc/self/status", text, sizeof text)) return 0;
    const char *line = strstr(text, "\nFDSize:");
    return line ? (uint32_t)strtoul(line + sizeof "\nFDSize:" - 1, NULL, 10) : 0;
}

uint32_t process_fd_count_by_poll(void) {
    enum { AT_ONCE = 256 };
    struct pollfd fds[AT_ONCE];
    uint32_t size = fd_table_size(), count = 0;
    for (uint32_t first = 0; first < size; first += AT_ONCE) {
        nfds_t here = size - first < AT_ONCE ? size - first : AT_ONCE;
        for (nfds_t i = 0; i < here; i++) fds[i] = (struct pollfd){.fd = (int)(first + i)};
        if (poll(fds, here, 0) < 0) return 0;
        for (nfds_t i = 0; i < here; i++) count += (fds[i].revents & POLLNVAL) == 0;
    }
    return count;
}

uint32_t process_fd_count(void) {
    struct stat st;
    if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0) return (uint32_t)st.st_size;
    return process_fd_count_by_poll();
}

uint32_t process_fd_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY) return 0;
    return (uint32_t)limit.rlim_cur;
}
