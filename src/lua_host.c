/* BOTH. The one Lua state of the process, its pooled coroutines and the only door into them; see lua_host.h.
 *
 * A task is a coroutine that is used again after its function has returned. All tasks stand as keys in one registry
 * table (thread -> struct task), which keeps them alive and finds the task of a coroutine that is resumed. */
#include "lua_host.h"

#include <errno.h>
#include <luajit.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blame.h"
#include "hold.h"
#include "log.h"

enum { TASKS_KEPT = 512 };

struct task {
    lua_State *co;
    struct task *next, **back; /* free list or list of the suspended */
    task_done_fn done;
    void *data;
    uint32_t blame; /* the request that it is a part of, see blame.h */
    bool suspended;
};

static lua_State *main_state;
static uv_loop_t *main_loop;
static struct task *free_tasks, *suspended_tasks;
static unsigned free_count;
static char *last_error;
static int last_status;
static host_uncaught_fn uncaught_handler;
static char tasks_key; /* its address is the registry key */

lua_State *host_state(void) {
    return main_state;
}

uv_loop_t *host_loop(void) {
    return main_loop;
}

const char *host_error(void) {
    return last_error ? last_error : "";
}

int host_error_status(void) {
    return last_status;
}

void host_keep_error(const char *text) {
    char *copy = strdup(text ? text : "(error object is not a string)");
    if (!copy) return;
    free(last_error);
    last_error = copy;
}

void host_set_uncaught(host_uncaught_fn uncaught) {
    uncaught_handler = uncaught;
}

void host_uncaught(const char *error) {
    if (uncaught_handler) {
        uncaught_handler(error);
    } else {
        log_write(CLUA_LOG_ERROR, "%s", error);
    }
}

/* Puts the text of the error value on top of the stack above it: strings and what has __tostring. last_status: what the
 * process is to exit with; then a traceback would be noise. */
static void push_message(lua_State *L) {
    last_status = 0;
    if (lua_istable(L, -1)) {
        lua_pushliteral(L, "exit_status");
        lua_rawget(L, -2);
        last_status = (int)lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    if (!lua_tostring(L, -1) && luaL_getmetafield(L, -1, "__tostring")) {
        lua_pushvalue(L, -2);
        if (lua_pcall(L, 1, 1, 0) == 0 && lua_isstring(L, -1)) {
            lua_remove(L, -2);
        } else {
            lua_pop(L, 1);
        }
    }
    if (lua_tostring(L, -1)) {
        lua_pushvalue(L, -1);
    } else {
        lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, -1));
    }
}

static int message_handler(lua_State *L) {
    push_message(L);
    if (last_status == 0) luaL_traceback(L, L, lua_tostring(L, -1), 1);
    return 1;
}

/* ---- tasks ---------------------------------------------------------------------------------------------------- */

static void list_add(struct task **list, struct task *task) {
    task->next = *list;
    task->back = list;
    if (*list) (*list)->back = &task->next;
    *list = task;
}

static void list_remove(struct task *task) {
    *task->back = task->next;
    if (task->next) task->next->back = task->back;
    task->next = NULL;
    task->back = NULL;
}

static struct task *task_new(void) {
    lua_State *L = main_state;
    struct task *task = calloc(1, sizeof *task);
    if (!task) {
        log_write(CLUA_LOG_ERROR, "cannot start a coroutine: out of memory");
        abort();
    }
    lua_pushlightuserdata(L, &tasks_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    task->co = lua_newthread(L);
    lua_pushlightuserdata(L, task);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    return task;
}

static struct task *task_take(void) {
    struct task *task = free_tasks;
    if (!task) return task_new();
    list_remove(task);
    free_count--;
    return task;
}

static void task_forget(struct task *task) {
    lua_State *L = main_state;
    lua_pushlightuserdata(L, &tasks_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_pushthread(task->co);
    lua_xmove(task->co, L, 1);
    lua_pushnil(L);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    free(task);
}

/* Stack of L: unchanged. NULL for a coroutine that is no task. */
static struct task *task_find(lua_State *L, lua_State *co) {
    lua_pushlightuserdata(L, &tasks_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (co == L) {
        lua_pushthread(L);
    } else {
        lua_pushthread(co);
        lua_xmove(co, L, 1);
    }
    lua_rawget(L, -2);
    struct task *task = lua_touserdata(L, -1);
    lua_pop(L, 2);
    return task;
}

/* The text of an error on top of the stack, as clua.trace tells it: with the source line and without frames of clua. What
 * fails on the way there (no memory, say) leaves it as it was. */
static void describe(lua_State *L, lua_State *co) {
    int top = lua_gettop(L);
    if (last_status != 0 || !lua_isstring(L, -1)) return;
    lua_getglobal(L, "require");
    lua_pushliteral(L, "clua.trace");
    if (lua_pcall(L, 1, 1, 0) == 0 && lua_istable(L, -1)) {
        lua_getfield(L, -1, "describe");
        lua_pushvalue(L, top);
        lua_pushthread(co);
        if (co != L) lua_xmove(co, L, 1);
        if (lua_pcall(L, 2, 1, 0) == 0 && lua_isstring(L, -1)) {
            lua_replace(L, top);
            lua_settop(L, top);
            return;
        }
    }
    lua_settop(L, top);
    luaL_traceback(L, co, lua_tostring(L, top), 0);
    lua_replace(L, top);
}

/* Runs co with nargs values on its stack and turns what comes out into a status; a failure's text goes to
 * host_error(). */
static enum task_status run(lua_State *co, int nargs) {
    int status = lua_resume(co, nargs);
    if (status == 0) return TASK_FINISHED;
    if (status == LUA_YIELD) {
        lua_settop(co, 0);
        return TASK_SUSPENDED;
    }
    luaL_checkstack(main_state, 8, "traceback");
    lua_xmove(co, main_state, 1);
    push_message(main_state);
    describe(main_state, co);
    host_keep_error(lua_tostring(main_state, -1));
    lua_pop(main_state, 2);
    return TASK_FAILED;
}

static void task_recycle(struct task *task) {
    lua_settop(task->co, 0);
    if (free_count >= TASKS_KEPT) {
        task_forget(task);
        return;
    }
    list_add(&free_tasks, task);
    free_count++;
}

static enum task_status task_run(int nargs, task_done_fn done, void *data, bool keep_result) {
    lua_State *L = main_state;
    struct task *task = task_take();
    lua_xmove(L, task->co, nargs + 1);
    enum task_status status = run(task->co, nargs);
    switch (status) {
    case TASK_FINISHED:
        if (keep_result) {
            lua_settop(task->co, 1);
            lua_xmove(task->co, L, 1);
        }
        task_recycle(task);
        break;
    case TASK_SUSPENDED:
        task->done = done;
        task->data = data;
        task->blame = blame_running();
        task->suspended = true;
        list_add(&suspended_tasks, task);
        break;
    case TASK_FAILED:
        task_forget(task);
        if (!done) host_uncaught(host_error());
        break;
    }
    return status;
}

enum task_status host_run(int nargs, task_done_fn done, void *data) {
    return task_run(nargs, done, data, false);
}

enum task_status host_run1(int nargs, task_done_fn done, void *data) {
    return task_run(nargs, done, data, true);
}

/* A task that had been suspended has come to its end. */
static void task_end(struct task *task, enum task_status status) {
    task_done_fn done = task->done;
    void *data = task->data;
    list_remove(task);
    task->suspended = false;
    task->done = NULL;
    if (status == TASK_FAILED) {
        task_forget(task);
    } else {
        task_recycle(task);
    }
    if (done) {
        done(data, status, status == TASK_FAILED ? host_error() : NULL);
    } else if (status == TASK_FAILED) {
        host_uncaught(host_error());
    }
}

enum task_status host_resume(lua_State *from, lua_State *co, int nargs) {
    struct task *task = task_find(from, co);
    bool fresh = lua_status(co) == 0 && !task && lua_gettop(co) > 0;
    if (lua_status(co) != LUA_YIELD && !fresh) {
        lua_pop(from, nargs);
        luaL_traceback(main_state, from, "cannot resume a coroutine that is not suspended", 0);
        host_keep_error(lua_tostring(main_state, -1));
        lua_pop(main_state, 1);
        host_uncaught(host_error());
        return TASK_FAILED;
    }
    luaL_checkstack(co, nargs + 1, "arguments");
    lua_xmove(from, co, nargs);
    uint32_t before = blame_running();
    if (task && task->blame) hold_goes_on(task->blame);
    if (task) blame_switch(task->blame);
    enum task_status status = run(co, nargs);
    blame_switch(before);
    if (status == TASK_SUSPENDED) return status;
    if (task && task->suspended) {
        task_end(task, status);
    } else if (status == TASK_FAILED) {
        host_uncaught(host_error());
    }
    return status;
}

int host_call(lua_State *L, int nargs, int nresults) {
    int function = lua_gettop(L) - nargs;
    lua_pushcfunction(L, message_handler);
    lua_insert(L, function);
    int status = lua_pcall(L, nargs, nresults, function);
    lua_remove(L, function);
    if (status == 0) return 0;
    host_keep_error(lua_tostring(L, -1));
    lua_pop(L, 1);
    host_uncaught(host_error());
    return status;
}

void host_disown(task_done_fn done, void *data) {
    for (struct task *task = suspended_tasks; task; task = task->next) {
        if (task->done == done && task->data == data) {
            task->done = NULL;
            return;
        }
    }
}

/* ---- state ---------------------------------------------------------------------------------------------------- */

void host_preload(const char *name, lua_CFunction open) {
    lua_State *L = main_state;
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, open);
    lua_setfield(L, -2, name);
    lua_pop(L, 2);
}

static int panic(lua_State *L) {
    const char *message = lua_tostring(L, -1);
    log_write(CLUA_LOG_ERROR, "Lua failed outside of any protected call: %s", message ? message : "unknown");
    abort();
}

int host_open(uv_loop_t *loop) {
    lua_State *L = luaL_newstate();
    if (!L) return UV_ENOMEM;
    main_state = L;
    main_loop = loop;
    lua_atpanic(L, panic);
    luaL_openlibs(L);
    lua_pushlightuserdata(L, &tasks_key);
    lua_newtable(L);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return 0;
}

static void free_list_of_tasks(struct task **list) {
    struct task *next;
    for (struct task *task = *list; task; task = next) {
        next = task->next;
        free(task);
    }
    *list = NULL;
}

void host_close(void) {
    if (!main_state) return;
    lua_close(main_state);
    main_state = NULL;
    free_list_of_tasks(&free_tasks);
    free_list_of_tasks(&suspended_tasks);
    free_count = 0;
    free(last_error);
    last_error = NULL;
}

/* ---- what is it doing? ---------------------------------------------------------------------------------------- */

static void log_traceback(lua_State *L, lua_Debug *where) {
    (void)where;
    lua_sethook(L, NULL, 0, 0);
    luaL_traceback(L, L, "running:", 0);
    log_write(CLUA_LOG_WARN, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
}

/* Like the luajit command's handler of SIGINT: setting a hook is what a signal handler may do to a Lua state. */
static void ask_for_traceback(int signum) {
    (void)signum;
    if (main_state) lua_sethook(main_state, log_traceback, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
}

int host_traceback_on(int signum) {
    struct sigaction action = {.sa_handler = ask_for_traceback, .sa_flags = SA_RESTART};
    return sigaction(signum, &action, NULL) < 0 ? -errno : 0;
}

static void interrupt(lua_State *L, lua_Debug *where) {
    (void)where;
    lua_sethook(L, NULL, 0, 0);
    luaL_error(L, "interrupted");
}

/* Compiled code sees no hook: if this one is not called, the next signal ends the process. */
static void ask_to_interrupt(int signum) {
    signal(signum, SIG_DFL);
    if (main_state) lua_sethook(main_state, interrupt, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
}

int host_interruptible(bool on) {
    static struct sigaction before;
    static bool is_on;
    if (on == is_on) return 0;
    struct sigaction action = {.sa_handler = ask_to_interrupt};
    if (sigaction(SIGINT, on ? &action : &before, on ? &before : NULL) < 0) return -errno;
    is_on = on;
    if (!on) lua_sethook(main_state, NULL, 0, 0); /* one that came too late interrupts nothing */
    return 0;
}

const char *host_version(void) {
    return LUAJIT_VERSION;
}

void host_metatable(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta) {
    if (luaL_newmetatable(L, name)) {
        lua_pushstring(L, name);
        lua_setfield(L, -2, "__name");
        lua_newtable(L);
        if (methods) luaL_register(L, NULL, methods);
        lua_setfield(L, -2, "__index");
        if (meta) luaL_register(L, NULL, meta);
    }
    lua_pop(L, 1);
}

int host_fail(lua_State *L, int uv_error) {
    lua_pushnil(L);
    lua_pushstring(L, uv_strerror(uv_error));
    lua_pushstring(L, uv_err_name(uv_error));
    return 3;
}
