/* MASTER. See upgrade.h. */
#include "upgrade.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

#include "capture.h"
#include "control.h"
#include "listener.h"
#include "master.h"
#include "pidfile.h"
#include "pool.h"
#include "slot.h"

static const char *const STATE_VARIABLE = "CLUA_STATE_FD", *const FOREIGN_VARIABLE = "CLUA_FOREIGN_FDS";

enum { FOREIGN_BYTES = 4096, WORD_BYTES = 16 };

extern char **environ;

static char program[PATH_MAX], directory[PATH_MAX];
static char **arguments;
static int state_fd = -1;
static bool is_adopted;

/* ---- between exec and adoption -------------------------------------------------------------------------------- */

static sigset_t noted; /* they have come, and nobody has heard them yet */

static void note_signal(int signum) {
    sigaddset(&noted, signum);
}

/* If they stayed blocked, they would be in what the script starts, too. */
static void note_signals(void) {
    const int signals[] = {SIGHUP, MASTER_SIGNALS};
    struct sigaction action = {.sa_handler = note_signal, .sa_flags = SA_RESTART};
    sigemptyset(&noted);
    sigfillset(&action.sa_mask); /* one at a time */
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &action, NULL);
}

static void set_mask(bool blocked) {
    sigset_t set;
    if (blocked) {
        sigfillset(&set);
    } else {
        sigemptyset(&set);
    }
    sigprocmask(SIG_SETMASK, &set, NULL);
}

/* Calls fn for each descriptor behind standard error that an exec leaves open. list: see tell_foreign(). */
static void each_inheritable(void (*fn)(int fd, char *list), char *list) {
    DIR *dir = opendir("/proc/self/fd");
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        int fd = atoi(entry->d_name);
        if (fd > STDERR_FILENO && fcntl(fd, F_GETFD) == 0) fn(fd, list);
    }
    closedir(dir);
}

static void add_foreign(int fd, char *list) {
    size_t len = strlen(list);
    if (len + WORD_BYTES <= FOREIGN_BYTES) snprintf(list + len, WORD_BYTES, "%d ", fd);
}

/* Those that whoever started clua has left open for the script, which gets them on every start: " 5 9 ". */
static void tell_foreign(void) {
    char list[FOREIGN_BYTES] = " ";
    each_inheritable(add_foreign, list);
    setenv(FOREIGN_VARIABLE, list, 1);
}

static void keep_from_children(int fd, char *list) {
    char word[WORD_BYTES];
    snprintf(word, sizeof word, " %d ", fd);
    if (!list || !strstr(list, word)) fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* What else has come through the exec is for this process alone, and not for those that the script starts before it is
 * adopted. */
static void arrive(const char *number) {
    state_fd = atoi(number);
    each_inheritable(keep_from_children, getenv(FOREIGN_VARIABLE));
    unsetenv(STATE_VARIABLE);
    unsetenv(FOREIGN_VARIABLE);
    note_signals();
    set_mask(false);
}

void upgrade_remember(int argc, char **argv) {
    const char *number = getenv(STATE_VARIABLE);
    if (number) arrive(number);
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = '\0';
    if (!getcwd(directory, sizeof directory)) snprintf(directory, sizeof directory, ".");
    arguments = calloc((size_t)argc + 1, sizeof(char *));
    for (int i = 0; arguments && i < argc; i++) arguments[i] = argv[i];
}

const char *upgrade_program(void) {
    return program;
}

const char *upgrade_directory(void) {
    return directory;
}

static void set_inheritable(int fd, bool inheritable) {
    if (fd >= 0) fcntl(fd, F_SETFD, inheritable ? 0 : FD_CLOEXEC);
}

static void set_all_inheritable(bool inheritable) {
    set_inheritable(pidfile_fd(), inheritable);
    set_inheritable(control_fd(), inheritable);
    for (struct pool *pool = pool_first(); pool; pool = pool->next) {
        set_inheritable(pool->shared_fd, inheritable);
        for (struct listener *listener = pool->listeners; listener; listener = listener->next)
            set_inheritable(listener->fd, inheritable);
        for (struct slot *slot = pool->slots; slot; slot = slot->next) {
            set_inheritable(slot->channel_fd, inheritable);
            set_inheritable(slot->segment_fd, inheritable);
        }
    }
    for (struct capture *capture = NULL; (capture = capture_after(capture));) set_inheritable(capture->fd, inheritable);
    struct connection *connection = NULL;
    while ((connection = connection_after(connection))) set_inheritable(connection->fd, inheritable);
}

/* A memfd that holds the state. Descriptor or UV_E*. */
static int write_state(const char *state, size_t len) {
    int fd = memfd_create("clua-state", MFD_CLOEXEC);
    if (fd < 0) return -errno;
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, state + done, len - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            int err = -errno;
            close(fd);
            return err;
        }
        done += (size_t)n;
    }
    return fd;
}

int upgrade_exec(const char *state, size_t len) {
    char number[16];
    int fd = write_state(state, len);
    if (fd < 0) return fd;
    tell_foreign();
    snprintf(number, sizeof number, "%d", fd);
    fcntl(fd, F_SETFD, 0);
    setenv(STATE_VARIABLE, number, 1);
    set_all_inheritable(true);
    int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC); /* the script may have gone elsewhere, and stays there */
    if (chdir(directory) == 0) execve(program, arguments, environ);
    int err = -errno;
    if (here >= 0 && fchdir(here) < 0) err = -errno;
    if (here >= 0) close(here);
    set_all_inheritable(false);
    unsetenv(STATE_VARIABLE);
    unsetenv(FOREIGN_VARIABLE);
    close(fd);
    return err;
}

int upgrade_take_state(char **state, size_t *len) {
    struct stat st;
    int fd = state_fd;
    if (fd < 0) return UV_ENOENT;
    state_fd = -1;
    if (fstat(fd, &st) < 0) return -errno;
    *len = (size_t)st.st_size;
    *state = malloc(*len + 1);
    ssize_t n = *state ? pread(fd, *state, *len, 0) : -1;
    close(fd);
    if (n == (ssize_t)*len) return 0;
    free(*state);
    return UV_EIO;
}

void upgrade_block_signals(void) {
    set_mask(true);
}

void upgrade_unblock_signals(void) {
    set_mask(false);
}

void upgrade_adopted(void) {
    is_adopted = true;
    for (int signum = 1; signum <= SIGRTMAX; signum++)
        if (sigismember(&noted, signum) == 1) raise(signum); /* to libuv's handlers by now */
}

bool upgrade_has_adopted(void) {
    return is_adopted;
}
