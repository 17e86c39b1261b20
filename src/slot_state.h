/* MASTER. The life of a slot as a pure step function over (state, event); slot_life.c carries out what it decides.
 *
 *               READY              RETIRE|LEAVE            HANGUP
 *   STARTING ----------> READY ------------------> DRAINING ------> EXITING
 *      |  EXPIRE|KILL      | KILL                    | EXPIRE|KILL     | EXPIRE|KILL
 *      +-------------------+---------> KILLED <------+-----------------+        any --EXIT--> GONE */
#ifndef CLUA_SLOT_STATE_H
#define CLUA_SLOT_STATE_H

#define SLOT_STATES(X)                                                                                                 \
    X(STARTING, "starting") /* forked; its script has not called ready() yet */                                        \
    X(READY, "ready")       /* can be lent connections */                                                              \
    X(DRAINING, "draining") /* told to finish (or does so by itself); gets no more connections */                      \
    X(EXITING, "exiting")   /* its channel has ended: exit is a matter of moments */                                   \
    X(KILLED, "killed")     /* SIGKILL was sent */                                                                     \
    X(GONE, "gone")         /* reaped; the slot is freed at the end of this turn */

#define SLOT_EVENTS(X)                                                                                                 \
    X(READY, "ready")   /* message of the worker */                                                                    \
    X(LEAVE, "leave")   /* the worker drains by itself (SIGTERM) */                                                    \
    X(RETIRE, "retire") /* the policy wants it to finish */                                                            \
    X(KILL, "kill")     /* the policy wants it gone at once, or it has broken the protocol */                          \
    X(EXPIRE, "expire") /* the deadline of the state has passed */                                                     \
    X(HANGUP, "hangup") /* the channel has ended */                                                                    \
    X(EXIT, "exit")     /* reaped */

enum slot_state {
#define X(name, text) SLOT_##name,
    SLOT_STATES(X)
#undef X
        SLOT_STATE_COUNT
};

enum slot_event {
#define X(name, text) SLOT_EVENT_##name,
    SLOT_EVENTS(X)
#undef X
        SLOT_EVENT_COUNT
};

const char *slot_state_name(enum slot_state state);

/* What a step has to do besides changing the state: the step function decides, slot_life.c carries out. */
enum slot_action {
    SLOT_DO_NOTHING = 0,
    SLOT_DO_TELL_READY = 1 << 0, /* tell the policy */
    SLOT_DO_SEND_DRAIN = 1 << 1, /* CHANNEL_DRAIN */
    SLOT_DO_KILL = 1 << 2,       /* SIGKILL */
    SLOT_DO_CLOSE = 1 << 3,      /* settle its loans, close channel and segment, tell the policy */
    SLOT_DO_WARN_READY = 1 << 4, /* log: did not become ready in time */
    SLOT_DO_WARN_DRAIN = 1 << 5, /* log: did not finish in time */
    SLOT_DO_WARN_ALIVE = 1 << 6, /* log: still there after SIGKILL */
    SLOT_DO_BUG = 1 << 7,        /* an impossible pair of state and event */
};

/* Which deadline the new state has. */
enum slot_deadline {
    SLOT_NO_DEADLINE,
    SLOT_READY_DEADLINE,
    SLOT_TERM_DEADLINE,
    SLOT_EXIT_DEADLINE,
    SLOT_KILL_DEADLINE
};

struct slot_verdict {
    enum slot_state state;
    enum slot_deadline deadline;
    unsigned actions; /* enum slot_action */
};

/* The step function, pure. */
struct slot_verdict slot_decide(enum slot_state state, enum slot_event event);

#endif
