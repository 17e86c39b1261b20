/* BOTH. The command line, and the choice of what this process is: a worker that the master started (`--worker`, with
 * channel and segment inherited), or whoever runs a script; it becomes a master when the script calls dispatch().
 * A word that names a command (lua/clua/cli.lua) runs that; everything about commands but this choice is Lua.
 *
 * Exit status: 0, 1 uncaught Lua error, 100 usage, 101 bug, 111 system. */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lua.h>
#include <uv.h>

#include <lua-cjson.h> /* wants lua.h before it */

#include "channel.h"
#include "log.h"
#include "lua_buckets.h"
#include "lua_control.h"
#include "lua_host.h"
#include "lua_host_module.h"
#include "lua_http.h"
#include "lua_http_client.h"
#include "lua_luv.h"
#include "lua_master.h"
#include "lua_net.h"
#include "lua_script.h"
#include "lua_socket.h"
#include "lua_worker.h"
#include "upgrade.h"
#include "worker.h"
#include "worker_state.h"

enum { EXIT_UNCAUGHT = 1, EXIT_USAGE = 100, EXIT_SYSTEM = 111 };

static const char usage_text[] = "usage: clua [-e CODE] [-t] [-v] [-h] [SCRIPT [ARGS...]]\n"
                                 "       clua COMMAND [ARGS...]      clua help lists the commands\n"
                                 "Runs a Lua script on an event loop. A script that calls cluster.Master():dispatch()\n"
                                 "becomes the master of a cluster.\n"
                                 "  -e CODE   run CODE before the script\n"
                                 "  -t        test: run SCRIPT up to dispatch(), check what can be checked, exit\n"
                                 "  -v        print the version (--version)\n"
                                 "  -h        print this text (--help)\n";

int luaopen_cjson_safe(lua_State *L); /* its header leaves it out */

static uv_loop_t loop;

/* Also the end of a master whose dispatch script fails after dispatch(): its workers see the channel end. */
static void script_failed(const char *error) {
    fprintf(stderr, "clua: %s\n", error);
    lua_master_abandon();
    exit(host_error_status() ? host_error_status() : EXIT_UNCAUGHT);
}

static void worker_failed(const char *error) {
    log_write(CLUA_LOG_ERROR, "uncaught error, exiting: %s", error);
    exit(EXIT_UNCAUGHT);
}

/* Each connection costs a descriptor in master and worker: take all that the administrator allows. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* What is opened next must not become standard error, which the log is written to. */
static void fill_standard_descriptors(void) {
    int fd;
    do fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) close(fd);
}

static int open_lua(void) {
    int err = host_open(&loop);
    if (err < 0) {
        fprintf(stderr, "clua: cannot start Lua: %s\n", uv_strerror(err));
        return err;
    }
    script_add_loader();
    host_preload("luv", lua_luv_open);
    host_preload("clua.core.host", lua_host_module_open);
    host_preload("clua.core.socket", lua_socket_open);
    host_preload("clua.core.worker", lua_worker_open);
    host_preload("clua.core.master", lua_master_open);
    host_preload("clua.core.buckets", lua_buckets_open);
    host_preload("clua.core.control", lua_control_open);
    host_preload("clua.core.http", lua_http_open);
    host_preload("clua.core.http_client", lua_http_client_open);
    host_preload("clua.core.net", lua_net_open);
    host_preload("cjson", luaopen_cjson);
    host_preload("cjson.safe", luaopen_cjson_safe);
    return 0;
}

/* The script itself has failed, not a handler of it: that is survived by a cluster alone that an upgrade has handed on,
 * where the check could see no more of the script than its way to dispatch(). */
static void chunk_failed(const char *error) {
    if (worker_is_one()) {
        worker_failed(error);
    } else if (upgrade_has_adopted()) {
        log_write(CLUA_LOG_ERROR, "the dispatch script has failed behind dispatch(): %s", error);
    } else {
        script_failed(error);
    }
}

static void main_done(void *data, enum task_status status, const char *error) {
    (void)data;
    if (status == TASK_FAILED) chunk_failed(error);
}

/* Runs the chunk on top of the stack with these arguments, then the loop until nothing is left to wait for. */
static int run_chunk(char **args, int count) {
    lua_State *L = host_state();
    luaL_checkstack(L, count, "too many arguments");
    for (int i = 0; i < count; i++) lua_pushstring(L, args[i]);
    if (host_run(count, main_done, NULL) == TASK_FAILED) chunk_failed(host_error());
    return 0;
}

static int run_loop(void) {
    uv_run(&loop, UV_RUN_DEFAULT);
    return lua_master_exit_status();
}

/* ---- worker --------------------------------------------------------------------------------------------------- */

static bool inherited_channel(void) {
    int type = 0;
    socklen_t len = sizeof type;
    return getsockopt(CHANNEL_FD, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
}

/* A file, or "=MODULE": a worker that is a part of clua. */
static bool load_worker(const char *script) {
    if (script[0] != '=') {
        script_add_path(script);
        return script_load_file(script);
    }
    /* What waits cannot do so inside of require(): a module that is to wait returns a function. */
    return script_load_string("local main = require(arg[0]:sub(2)) if type(main) == 'function' then return main() end",
                              script);
}

static int worker_main(void) {
    if (!inherited_channel()) {
        fprintf(stderr, "clua: --worker is how a master starts its workers: run `clua dispatch.lua` instead\n");
        return EXIT_USAGE;
    }
    if (worker_open(&loop) < 0 || open_lua() < 0) return EXIT_SYSTEM;
    host_set_uncaught(worker_failed);
    host_traceback_on(WORKER_TRACEBACK_SIGNAL);
    const struct boot *boot = worker_boot();
    char *args[1 + SEGMENT_ARGS_BYTES / 2];
    char script[sizeof boot->script];
    static char args_bytes[SEGMENT_ARGS_BYTES];
    snprintf(script, sizeof script, "%s", boot->script);
    memcpy(args_bytes, boot->args, sizeof args_bytes);
    args_bytes[sizeof args_bytes - 1] = '\0';
    args[0] = script;
    int count = 1;
    for (char *at = args_bytes; (uint32_t)count <= boot->argc && count < (int)(sizeof args / sizeof *args); count++) {
        args[count] = at;
        at += strlen(at) + 1;
    }
    script_set_arg(args, count, 0);
    if (!load_worker(script)) {
        log_write(CLUA_LOG_ERROR, "%s", host_error());
        return EXIT_USAGE;
    }
    run_chunk(args + 1, count - 1);
    return run_loop();
}

/* ---- any script ----------------------------------------------------------------------------------------------- */

static int usage_error(const char *text) {
    fprintf(stderr, "clua: %s\n", text);
    return EXIT_USAGE;
}

/* Commands are plain words; a script of that name is run as ./NAME. True with the function that runs the command on the
 * stack; else the text that says that there is none may stand there. */
static bool find_command(const char *word) {
    lua_State *L = host_state();
    if (word[strspn(word, "abcdefghijklmnopqrstuvwxyz-")] != '\0') return false;
    if (!script_load_string("return require('clua.cli').find(...)", "=clua")) chunk_failed(host_error());
    lua_pushstring(L, word);
    if (host_run1(1, NULL, NULL) != TASK_FINISHED) chunk_failed(host_error());
    return lua_isfunction(L, -1);
}

static int run_script(char **argv, int argc, int script) {
    struct stat st;
    bool exists = stat(argv[script], &st) == 0;
    if (exists && S_ISDIR(st.st_mode)) {
        fprintf(stderr, "clua: %s is a directory: name a Lua script\n", argv[script]);
        return EXIT_USAGE;
    }
    const char *no_command = lua_tostring(host_state(), -1);
    if (!exists && no_command) {
        fprintf(stderr, "clua: no file of this name, and %s\n", no_command);
        return EXIT_USAGE;
    }
    lua_settop(host_state(), 0);
    script_add_path(argv[script]);
    if (!script_load_file(argv[script])) return usage_error(host_error());
    return run_chunk(argv + script + 1, argc - script - 1);
}

static int script_main(const char *code, char **argv, int argc, int script) {
    if (open_lua() < 0) return EXIT_SYSTEM;
    host_set_uncaught(script_failed);
    script_set_arg(argv, argc, script < argc ? script : 0);
    if (code) {
        if (!script_load_string(code, "=(command line)")) return usage_error(host_error());
        run_chunk(NULL, 0);
    }
    if (script < argc) {
        int status = find_command(argv[script]) ? run_chunk(argv + script + 1, argc - script - 1)
                                                : run_script(argv, argc, script);
        if (status != 0) return status;
    }
    return run_loop();
}

int main(int argc, char **argv) {
    const char *code = NULL;
    int option;
    fill_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a log that has reached its limit is no reason to die */
    upgrade_remember(argc, argv);
    int err = uv_loop_init(&loop);
    if (err < 0) {
        fprintf(stderr, "clua: cannot start the event loop: %s\n", uv_strerror(err));
        return EXIT_SYSTEM;
    }
    if (argc >= 2 && strcmp(argv[1], "--worker") == 0) return worker_main();
    raise_descriptor_limit();
    opterr = 0;
    static const struct option long_options[] = {
        {"version", no_argument, NULL, 'v'}, {"help", no_argument, NULL, 'h'}, {0}};
    while ((option = getopt_long(argc, argv, "+e:tvh", long_options, NULL)) != -1) {
        switch (option) {
        case 'e':
            if (code) return usage_error("-e may be given once: put both into one, with a newline between");
            code = optarg;
            break;
        case 't':
            lua_master_test_only();
            break;
        case 'v':
            printf("clua %s (%s, libuv %s)\n", CLUA_VERSION, host_version(), uv_version_string());
            return 0;
        case 'h':
            fputs(usage_text, stdout);
            return 0;
        default:
            if (optopt == 0 || optopt == 'v' || optopt == 'h') /* a long one */
                fprintf(stderr, "clua: unknown option '%s': see clua -h\n", argv[optind - 1]);
            else
                fprintf(stderr, "clua: %s '-%c': see clua -h\n",
                        optopt == 'e' ? "an argument is missing after" : "unknown option", optopt);
            return EXIT_USAGE;
        }
    }
    if (!code && optind >= argc) {
        fputs(usage_text, stderr);
        return EXIT_USAGE;
    }
    return script_main(code, argv, argc, optind);
}
