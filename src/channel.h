/* BOTH. The channel between the master and one worker: a SOCK_SEQPACKET pair that carries loans with their descriptors
 * and the rare control messages. One message, one packet; a packet that does not have the shape of its type is an error
 * for the receiver (UV_EPROTO), whatever it contains. */
#ifndef CLUA_CHANNEL_H
#define CLUA_CHANNEL_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHANNEL_FD = 3, /* in the worker: inherited at fixed numbers */
    SEGMENT_FD = 4,
    LOG_FD = 5,                /* the log itself: for when the master is gone; see log.h */
    SHARED_FD = 6,             /* see shared.h */
    CAPTURE_FD = 7,            /* the pipe to the master that lines of the log go into; see capture.h */
    ACCESS_FD = 8,             /* the access log, if the registration has one */
    CHANNEL_LOANS_MAX = 64,    /* loans in one packet; SCM_MAX_FD is 253 */
    CHANNEL_BYTES_MAX = 65536, /* payload of one packet */
};

/* Sent by the master to a worker that hangs, a moment before SIGKILL. Ctrl-\ reaches it too, as in other runtimes. */
#define WORKER_TRACEBACK_SIGNAL SIGQUIT

enum channel_type {
    /* master -> worker */
    CHANNEL_LOANS = 1, /* loans[count], one descriptor each, in order */
    CHANNEL_RECALL,    /* recalled[count]: the master has taken these loans back */
    CHANNEL_DRAIN,     /* finish, give back what is idle, exit */
    CHANNEL_DELIVER,   /* bytes[len]: a message of another process */
    CHANNEL_SETTINGS,  /* settings */
    /* worker -> master */
    CHANNEL_READY,     /* ready */
    CHANNEL_DOORBELL,  /* look into the segment */
    CHANNEL_FIRST,     /* clients of this protocol speak first */
    CHANNEL_LEAVE,     /* leave: replace me; for SIGTERM the worker is draining already */
    CHANNEL_BROADCAST, /* broadcast */
    /* master -> worker */
    CHANNEL_QUARANTINE, /* quarantine: refuse requests with this line for a while */
    CHANNEL_LOGS,       /* logs: files opened anew, one descriptor for each bit of `which`, in that order */
    CHANNEL_ANSWER,     /* ask: what was asked for, in a memfd; without one when the receiver is out of descriptors */
    /* worker -> master */
    CHANNEL_ASK, /* ask: the admin worker wants to know something of the cluster */
    /* master -> worker */
    CHANNEL_EVALUATE, /* bytes[len]: code of the operator's. A type of its own, since messages are other workers' */
};

enum leave_reason { LEAVE_TERM = 1, LEAVE_MAXC, LEAVE_MAX_RSS };

enum ask_what { ASK_STATE = 1, ASK_STATUS };

/* SPOKEN: the client has probably sent something already, so the worker reads before it waits. */
enum { CHANNEL_LOAN_UNOWNED = 1, CHANNEL_LOAN_SPOKEN = 2 };

enum { CHANNEL_LOG_ERROR = 1, CHANNEL_LOG_ACCESS = 2 };

struct channel_loan {
    uint32_t loan, lent;
    uint32_t written; /* bytes that the connection was given in earlier loans, modulo 2^32 */
    uint16_t port, flags;
};

struct channel_head {
    uint16_t type, count;
    uint32_t len; /* bytes of the payload */
};

struct channel_message {
    struct channel_head head;
    union {
        struct channel_loan loans[CHANNEL_LOANS_MAX];
        uint32_t recalled[CHANNEL_LOANS_MAX];
        struct {
            uint32_t log_level;
        } settings;
        struct {
            uint32_t which; /* CHANNEL_LOG_* */
        } logs;
        struct {
            uint32_t term_timeout_ms;
        } ready;
        struct {
            uint32_t reason;
        } leave;
        struct {
            uint32_t pid;      /* 0: every worker of the registration */
            uint32_t name_len; /* bytes starts with the name, the message follows */
            char bytes[CHANNEL_BYTES_MAX - 8];
        } broadcast;
        struct {
            uint32_t what; /* enum ask_what */
        } ask;
        struct {
            uint32_t ms;
            uint32_t line_len; /* of the whole line */
            uint32_t kept;     /* bytes starts with so much of it, the reply follows */
            char bytes[CHANNEL_BYTES_MAX - 12];
        } quarantine;
        char bytes[CHANNEL_BYTES_MAX];
    } u;
};

/* Makes the pair, non-blocking and CLOEXEC. 0 or UV_E*. */
int channel_pair(int *master_fd, int *worker_fd);

/* Sends one packet. 0; UV_EAGAIN (full), UV_ETOOMANYREFS (too many descriptors in flight), UV_E*. Never blocks. */
int channel_send(int fd, const struct channel_message *message, const int *fds, size_t fd_count);

/* Receives one packet. 1 with a checked message; 0 when there is none; UV_EOF, UV_EPROTO, UV_E*.
 * fds: up to CHANNEL_LOANS_MAX descriptors (CLOEXEC), the caller's to close; they may be fewer than the message has
 * loans when this process was out of descriptors. A packet with UV_EPROTO leaves no descriptor open. */
int channel_receive(int fd, struct channel_message *message, int *fds, size_t *fd_count);

#endif
