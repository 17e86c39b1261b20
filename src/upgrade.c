/* MASTER. See upgrade.h. */
#include "upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

#include "capture.h"
#include "control.h"
#include "listener.h"
#include "pidfile.h"
#include "pool.h"
#include "slot.h"

static const char *const STATE_VARIABLE = "CLUA_STATE_FD";

extern char **environ;

static char program[PATH_MAX], directory[PATH_MAX];
static char **arguments;

void upgrade_remember(int argc, char **argv) {
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

/* A memfd that holds the state, inheritable. Descriptor or UV_E*. */
static int write_state(const char *state, size_t len) {
    int fd = memfd_create("clua-state", 0);
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
    snprintf(number, sizeof number, "%d", fd);
    setenv(STATE_VARIABLE, number, 1);
    set_all_inheritable(true);
    int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC); /* the script may have gone elsewhere, and stays there */
    if (chdir(directory) == 0) execve(program, arguments, environ);
    int err = -errno;
    if (here >= 0 && fchdir(here) < 0) err = -errno;
    if (here >= 0) close(here);
    set_all_inheritable(false);
    unsetenv(STATE_VARIABLE);
    close(fd);
    return err;
}

int upgrade_take_state(char **state, size_t *len) {
    struct stat st;
    const char *number = getenv(STATE_VARIABLE);
    if (!number) return UV_ENOENT;
    int fd = atoi(number);
    unsetenv(STATE_VARIABLE);
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
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
}

void upgrade_unblock_signals(void) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}
