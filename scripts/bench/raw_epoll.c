/* The limit for `make bench`: one process, one epoll loop, no parsing beyond the end of a head, one fixed answer.
 * usage: raw_epoll PORT. Nothing a real server must do is done here: its figure is what the kernel alone costs. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello world\n";

static int open_listener(int port) {
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0) {
        perror("raw_epoll");
        exit(111);
    }
    return fd;
}

/* Answers each request whose head ends in this read; returns 0 when the client has gone or wants the end. */
static int serve(int fd) {
    char bytes[65536], out[65536];
    size_t len = 0;
    ssize_t n = read(fd, bytes, sizeof bytes - 1);
    if (n <= 0) return 0;
    bytes[n] = '\0';
    for (char *at = bytes; (at = strstr(at, "\r\n\r\n")) && len + sizeof answer < sizeof out; at += 4) {
        memcpy(out + len, answer, sizeof answer - 1);
        len += sizeof answer - 1;
    }
    if (len > 0 && write(fd, out, len) < 0) return 0;
    return strstr(bytes, "Connection: close") == NULL;
}

int main(int argc, char **argv) {
    int listener = open_listener(argc > 1 ? atoi(argv[1]) : 8097);
    int poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                if (!serve(fd)) close(fd);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                event = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
            }
        }
    }
}
