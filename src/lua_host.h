/* BOTH. Hosts the one Lua state of the process: the only file that calls into Lua (lua_pcall, lua_resume).
 *
 * Every entry from C runs in a pooled coroutine, a task, so that scripts may be written straight down: Lua code that
 * must wait yields, and the event it waits for resumes it through host_resume(). What an uncaught error means is
 * decided in one place, by the role (see host_set_uncaught). */
#ifndef CLUA_LUA_HOST_H
#define CLUA_LUA_HOST_H

#include <stdbool.h>
#include <uv.h>

#include <lauxlib.h>
#include <lua.h>

enum task_status {
    TASK_FINISHED,  /* returned */
    TASK_SUSPENDED, /* has yielded; something must resume it */
    TASK_FAILED,    /* raised an error */
};

/* Called when a task that was suspended has ended. error: message with traceback when FAILED, else NULL; valid during
 * the call only. */
typedef void (*task_done_fn)(void *data, enum task_status status, const char *error);

/* Creates the state with the standard libraries. 0 or UV_ENOMEM. One host a process. */
int host_open(uv_loop_t *loop);
void host_close(void);

/* The main state; C code pushes function and arguments here for host_run(). Never yields. */
lua_State *host_state(void);
uv_loop_t *host_loop(void);

/* Runs the function below its nargs arguments on top of host_state() in a pooled coroutine; pops them.
 * Ended inside the call: returns FINISHED or FAILED (text in host_error() until the next call), done is not called.
 * SUSPENDED: done(data, ...) follows, once. With done == NULL a failure is handed to the role's uncaught handler and
 * FAILED is returned. Results of the function are dropped. */
enum task_status host_run(int nargs, task_done_fn done, void *data);

/* The same, keeps the first result on host_state() when FINISHED (pushes exactly one value then). */
enum task_status host_run1(int nargs, task_done_fn done, void *data);

/* Resumes a suspended coroutine (a task or one that a script created) with nargs values on top of `from`; pops them.
 * Ends a task if it returns or fails. */
enum task_status host_resume(lua_State *from, lua_State *co, int nargs);

/* Calls the function below its nargs arguments on top of L, which must not wait; pops them. 0 with nresults values pushed, or
 * LUA_ERR* when the failure was handed to the role's uncaught handler. */
int host_call(lua_State *L, int nargs, int nresults);

/* Forgets who is waiting for this task: its done will not be called, a later failure is handed to uncaught. */
void host_disown(task_done_fn done, void *data);

/* Version of the Lua that is linked in. */
const char *host_version(void);

/* Exit status that the last failure asks for (clua.usage), 0 when it asks for none. */
int host_error_status(void);

/* Message and traceback of the last failure; a usage error has no traceback. */
const char *host_error(void);

/* What host_error() is to say, for what fails before it is run. */
void host_keep_error(const char *text);

/* The role's decision on an error that nobody handles. Default: log it. */
typedef void (*host_uncaught_fn)(const char *error);
void host_set_uncaught(host_uncaught_fn uncaught);
void host_uncaught(const char *error);

/* From now on this signal logs a traceback of the Lua code that is running, if that can be had: code that the JIT has compiled
 * into a loop does not look at hooks. 0 or UV_E*. */
int host_traceback_on(int signum);

/* Whether SIGINT, instead of what it does else, raises the error "interrupted" in the Lua code that is running; a second one, when
 * the first has not been seen (code that the JIT has compiled), ends the process. To be switched off when that code has ended. */
int host_interruptible(bool on);

/* Adds a C module: require(name) calls open. */
void host_preload(const char *name, lua_CFunction open);

/* Registers a metatable with __name; methods come from the table of functions, reachable through __index.
 * Leaves nothing on the stack. Idempotent. */
void host_metatable(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta);

/* Pushes nil, message, code for a negative UV_E* and returns 3: `return host_fail(L, err);`. */
int host_fail(lua_State *L, int uv_error);

#endif
