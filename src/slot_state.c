/* MASTER. See slot_state.h. */
#include "slot_state.h"

const char *slot_state_name(enum slot_state state) {
    static const char *const names[] = {
#define X(name, text) [SLOT_##name] = text,
        SLOT_STATES(X)
#undef X
    };
    return names[state];
}

static struct slot_verdict stay(enum slot_state state, enum slot_deadline deadline, unsigned actions) {
    return (struct slot_verdict){.state = state, .deadline = deadline, .actions = actions};
}

static const struct slot_verdict killed = {
    .state = SLOT_KILLED, .deadline = SLOT_KILL_DEADLINE, .actions = SLOT_DO_KILL};
static const struct slot_verdict gone = {.state = SLOT_GONE, .actions = SLOT_DO_CLOSE};

static struct slot_verdict with(struct slot_verdict verdict, unsigned actions) {
    verdict.actions |= actions;
    return verdict;
}

static struct slot_verdict decide_starting(enum slot_event event) {
    switch (event) {
    case SLOT_EVENT_READY:
        return stay(SLOT_READY, SLOT_NO_DEADLINE, SLOT_DO_TELL_READY);
    case SLOT_EVENT_EXPIRE:
        return with(killed, SLOT_DO_WARN_READY);
    case SLOT_EVENT_LEAVE:  /* only a ready worker says so: it has broken the protocol */
    case SLOT_EVENT_RETIRE: /* it has nothing to finish */
    case SLOT_EVENT_KILL:
        return killed;
    case SLOT_EVENT_HANGUP:
        return stay(SLOT_EXITING, SLOT_EXIT_DEADLINE, SLOT_DO_NOTHING);
    case SLOT_EVENT_EXIT:
        return gone;
    case SLOT_EVENT_COUNT:
        break;
    }
    return stay(SLOT_STARTING, SLOT_NO_DEADLINE, SLOT_DO_BUG);
}

static struct slot_verdict decide_ready(enum slot_event event) {
    switch (event) {
    case SLOT_EVENT_READY: /* a script may call ready() again with another function */
        return stay(SLOT_READY, SLOT_NO_DEADLINE, SLOT_DO_NOTHING);
    case SLOT_EVENT_LEAVE:
        return stay(SLOT_DRAINING, SLOT_TERM_DEADLINE, SLOT_DO_NOTHING);
    case SLOT_EVENT_RETIRE:
        return stay(SLOT_DRAINING, SLOT_TERM_DEADLINE, SLOT_DO_SEND_DRAIN);
    case SLOT_EVENT_KILL:
        return killed;
    case SLOT_EVENT_HANGUP:
        return stay(SLOT_EXITING, SLOT_EXIT_DEADLINE, SLOT_DO_NOTHING);
    case SLOT_EVENT_EXIT:
        return gone;
    case SLOT_EVENT_EXPIRE:
    case SLOT_EVENT_COUNT:
        break;
    }
    return stay(SLOT_READY, SLOT_NO_DEADLINE, SLOT_DO_BUG);
}

static struct slot_verdict decide_draining(enum slot_event event) {
    switch (event) {
    case SLOT_EVENT_READY:
    case SLOT_EVENT_LEAVE:
    case SLOT_EVENT_RETIRE:
        return stay(SLOT_DRAINING, SLOT_TERM_DEADLINE, SLOT_DO_NOTHING);
    case SLOT_EVENT_EXPIRE:
        return with(killed, SLOT_DO_WARN_DRAIN);
    case SLOT_EVENT_KILL:
        return killed;
    case SLOT_EVENT_HANGUP:
        return stay(SLOT_EXITING, SLOT_EXIT_DEADLINE, SLOT_DO_NOTHING);
    case SLOT_EVENT_EXIT:
        return gone;
    case SLOT_EVENT_COUNT:
        break;
    }
    return stay(SLOT_DRAINING, SLOT_TERM_DEADLINE, SLOT_DO_BUG);
}

/* EXITING and KILLED: nothing but the end of the process counts. */
static struct slot_verdict decide_ending(enum slot_state state, enum slot_event event) {
    enum slot_deadline deadline = state == SLOT_KILLED ? SLOT_KILL_DEADLINE : SLOT_EXIT_DEADLINE;
    switch (event) {
    case SLOT_EVENT_EXIT:
        return gone;
    case SLOT_EVENT_KILL:
        return killed;
    case SLOT_EVENT_EXPIRE:
        return state == SLOT_KILLED ? with(killed, SLOT_DO_WARN_ALIVE) : killed;
    case SLOT_EVENT_READY:
    case SLOT_EVENT_LEAVE:
    case SLOT_EVENT_RETIRE:
    case SLOT_EVENT_HANGUP:
        return stay(state, deadline, SLOT_DO_NOTHING);
    case SLOT_EVENT_COUNT:
        break;
    }
    return stay(state, deadline, SLOT_DO_BUG);
}

struct slot_verdict slot_decide(enum slot_state state, enum slot_event event) {
    switch (state) {
    case SLOT_STARTING:
        return decide_starting(event);
    case SLOT_READY:
        return decide_ready(event);
    case SLOT_DRAINING:
        return decide_draining(event);
    case SLOT_EXITING:
    case SLOT_KILLED:
        return decide_ending(state, event);
    case SLOT_GONE: /* a reaped process has no more events; its slot is swept in this turn */
    case SLOT_STATE_COUNT:
        break;
    }
    return stay(SLOT_GONE, SLOT_NO_DEADLINE, SLOT_DO_BUG);
}
