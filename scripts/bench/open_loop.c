/* The client of `make bench` for latency: an open loop. Requests fall due at random moments (a Poisson process, the same
 * one at every run), whether or not the answers before them have come; a latency counts from that moment, so a server
 * that stands still is charged for all that it keeps waiting. h2load --rps wakes up every 10 ms and asks then as fast as
 * it can, which measures how fast it is itself.
 *
 * usage: open_loop PORT PATH CONNECTIONS RATE SECONDS
 *
 * Prints "requests N rate R p50 US p90 US p99 US p999 US max US"; exits with 1 and a message when an answer is not what
 * the first one was. It never sleeps: give it a processor of its own. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 1024, WARM_UP_NS = 200 * 1000 * 1000 };

/* Of connections: who is idle, the one that has been so for longest first. */
struct idle {
    int fds[CONNECTIONS_MAX];
    unsigned first, count;
};

struct sent {
    uint64_t due_ns; /* when the request should have left */
    size_t got;      /* bytes of its answer */
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void fail(const char *what) {
    fprintf(stderr, "open_loop: %s\n", what);
    exit(1);
}

/* Nanoseconds to the next request: exponentially distributed around 1 / rate (xorshift64*). */
static uint64_t gap_ns(uint64_t *state, double rate) {
    *state ^= *state >> 12, *state ^= *state << 25, *state ^= *state >> 27;
    double uniform = (double)((*state * 2685821657736338717u) >> 11) / 9007199254740992.0;
    return (uint64_t)(-log(1 - uniform) / rate * 1e9);
}

static int connect_to(int port) {
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) fail(strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* The length of the server's answer, which all others shall have. */
static size_t first_answer(int fd, const char *request, size_t len) {
    char bytes[4096];
    if (send(fd, request, len, 0) != (ssize_t)len) fail("cannot send");
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n <= 12 || memcmp(bytes, "HTTP/1.1 200", 12) != 0) fail("the first answer is no 200");
    return (size_t)n;
}

static int by_size(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static void print(uint32_t *ns, size_t count, double seconds) {
    qsort(ns, count, sizeof *ns, by_size);
    printf("requests %zu rate %.0f p50 %.1f p90 %.1f p99 %.1f p999 %.1f max %.1f\n", count, (double)count / seconds,
           ns[count / 2] / 1e3, ns[count / 10 * 9] / 1e3, ns[(size_t)((double)count * 0.99)] / 1e3,
           ns[(size_t)((double)count * 0.999)] / 1e3, ns[count - 1] / 1e3);
}

int main(int argc, char **argv) {
    if (argc != 6) fail("usage: open_loop PORT PATH CONNECTIONS RATE SECONDS");
    int connections = atoi(argv[3]);
    double rate = atof(argv[4]), seconds = atof(argv[5]);
    if (connections < 1 || connections > CONNECTIONS_MAX || rate < 1 || seconds <= 0) fail("a number makes no sense");
    char request[1024];
    int len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", argv[2]);
    if (len >= (int)sizeof request) fail("the path is too long");

    static struct sent sent[CONNECTIONS_MAX + 64];
    static struct idle idle;
    int poll = epoll_create1(0);
    size_t answer = 0;
    for (int i = 0; i < connections; i++) {
        int fd = connect_to(atoi(argv[1]));
        if (fd >= (int)(sizeof sent / sizeof *sent)) fail("too many descriptors are open");
        answer = first_answer(fd, request, (size_t)len);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
        idle.fds[idle.count++] = fd;
    }

    size_t capacity = (size_t)(rate * seconds * 1.5) + 1000, count = 0;
    uint32_t *ns = malloc(capacity * sizeof *ns);
    if (!ns) fail("out of memory");
    uint64_t random = 88172645463325252u, begin = now_ns() + WARM_UP_NS, end = begin + (uint64_t)(seconds * 1e9);
    uint64_t due = begin - WARM_UP_NS;
    for (;;) {
        uint64_t now = now_ns();
        while (due <= now && due < end && idle.count > 0) {
            int fd = idle.fds[idle.first];
            idle.first = (idle.first + 1) % (unsigned)connections, idle.count--;
            sent[fd] = (struct sent){.due_ns = due};
            if (send(fd, request, (size_t)len, 0) != len) fail("cannot send");
            due += gap_ns(&random, rate);
        }
        if (due >= end && idle.count == (unsigned)connections) break;
        if (now > end + 10 * 1000000000ull) fail("no answer for ten seconds");
        struct epoll_event events[64];
        int found = epoll_wait(poll, events, 64, 0);
        for (int i = 0; i < found; i++) {
            char bytes[4096];
            int fd = events[i].data.fd;
            ssize_t n = recv(fd, bytes, sizeof bytes, 0);
            if (n <= 0) fail("the server has closed a connection");
            if (sent[fd].got == 0 && (n < 12 || memcmp(bytes, "HTTP/1.1 200", 12) != 0)) fail("an answer is no 200");
            sent[fd].got += (size_t)n;
            if (sent[fd].got > answer) fail("an answer is longer than the first one");
            if (sent[fd].got < answer) continue;
            idle.fds[(idle.first + idle.count++) % (unsigned)connections] = fd;
            uint64_t took = now_ns() - sent[fd].due_ns;
            if (sent[fd].due_ns >= begin && count < capacity)
                ns[count++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
        }
    }
    if (count < 100) fail("too few requests for a figure");
    print(ns, count, seconds);
    return 0;
}
