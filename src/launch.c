/* MASTER. See launch.h. posix_spawn shares the master's memory until exec (vfork(2)), so a master with many connections
 * starts workers as fast as an empty one. /proc/self/exe is the file that this master runs, even when the path holds a
 * newer binary by now: master and workers always speak the same protocol. Where it is another program (valgrind, an
 * emulator), the environment variable CLUA_EXE names the binary. */
#include "launch.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uv.h>

#include "channel.h"
#include "log.h"
#include "pool.h"

enum { FIXED_FDS = 10 };

extern char **environ;

/* Up to an eighth less, so that the workers of a pool are not all replaced at the same moment. */
static uint32_t with_jitter(uint32_t maxc) {
    if (maxc < 8) return maxc;
    return maxc - (uint32_t)(random() % (maxc / 8 + 1));
}

void launch_fill_boot(struct boot *boot, const struct pool *pool, uint32_t worker_id, uint32_t generation) {
    const struct pool_options *options = &pool->options;
    boot->worker_id = worker_id;
    boot->generation = generation;
    boot->term_timeout_ms = options->term_timeout_ms;
    boot->linger_ms = options->linger_ms;
    boot->maxc = with_jitter(options->maxc);
    boot->max_rss_bytes = options->max_rss_bytes;
    boot->slow_after_ms = options->slow_after_ms;
    boot->sched_batch = options->sched_batch;
    boot->log_level = (uint32_t)log_level_get();
    snprintf(boot->name, sizeof boot->name, "%s", options->name);
    snprintf(boot->script, sizeof boot->script, "%s", options->script);
    snprintf(boot->user, sizeof boot->user, "%s", options->user ? options->user : "");
    snprintf(boot->group, sizeof boot->group, "%s", options->group ? options->group : "");
    snprintf(boot->access_format, sizeof boot->access_format, "%s", pool->access_fd >= 0 ? pool->access_format : "");
    boot->access_json = pool->access_json;
    boot->argc = options->argc;
    if (options->args_len > 0) memcpy(boot->args, options->args, options->args_len);
}

/* Out of the way of the fixed numbers, so that no dup2 can overwrite the source of another. */
static int lift(int fd) {
    return fcntl(fd, F_DUPFD_CLOEXEC, FIXED_FDS);
}

int launch_worker(const struct launch_fds *fds, pid_t *pid) {
    bool has_access_log = fds->access >= 0;
    const struct {
        int from, to;
    } given[] = {
        {lift(fds->channel), CHANNEL_FD},
        {lift(fds->segment), SEGMENT_FD},
        {lift(STDERR_FILENO), LOG_FD},
        {lift(fds->shared), SHARED_FD},
        {lift(fds->capture), CAPTURE_FD},
        {lift(fds->inherits_output ? STDOUT_FILENO : fds->capture), STDOUT_FILENO},
        {lift(fds->inherits_output ? STDERR_FILENO : fds->capture), STDERR_FILENO},
        {lift(has_access_log ? fds->access : STDERR_FILENO), has_access_log ? ACCESS_FD : LOG_FD},
    };
    enum { GIVEN = sizeof given / sizeof *given };
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    const char *exe = getenv("CLUA_EXE"), *program = exe && *exe ? exe : "/proc/self/exe";
    char role[] = "clua", flag[] = "--worker";
    char *argv[] = {role, flag, NULL};
    int err = 0;
    for (int i = 0; i < GIVEN; i++)
        if (given[i].from < 0) err = UV_EMFILE;
    if (err < 0) goto no_fds;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigemptyset(&none);
    sigfillset(&all);
    for (int i = 0; i < GIVEN; i++) posix_spawn_file_actions_adddup2(&actions, given[i].from, given[i].to);
    /* What a script opened without CLOEXEC. */
    posix_spawn_file_actions_addclosefrom_np(&actions, has_access_log ? ACCESS_FD + 1 : ACCESS_FD);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    err = -posix_spawn(pid, program, &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
no_fds:
    for (int i = 0; i < GIVEN; i++)
        if (given[i].from >= 0) close(given[i].from);
    return err;
}
