/* MASTER. The staircase between log_sink.h, capture.h and lua/clua/logs.lua. */
#ifndef CLUA_LUA_LOG_H
#define CLUA_LUA_LOG_H

#include <lua.h>

/* log_open(prefix): this process is a master, whose lines and those of its workers go through log_sink.h. "time",
 * "priority", or "auto": priority when standard error is the journal. */
int lua_log_open(lua_State *L);

/* log_hold(boolean): whether lines wait until it is known where they go */
int lua_log_hold(lua_State *L);

/* log_check(path): could lines be appended there? true, or nil, message, code */
int lua_log_check(lua_State *L);

/* error_log(path): standard error is this file from now on, opened anew; true, or nil, message, code */
int lua_log_error_log(lua_State *L);

/* access_log(pool, path, format, json): opened now, or anew; for workers that start from here on. true, or nil, message,
 * code. access_check(format, json): true, or nil, why; access_variables(): array of their names. */
int lua_log_access_log(lua_State *L);
int lua_log_access_check(lua_State *L);
int lua_log_access_variables(lua_State *L);

/* hand_logs(): gives the workers that run the files that are open now */
int lua_log_hand(lua_State *L);

/* log_level([level]): of this process and all workers; the one that was set before */
int lua_log_level(lua_State *L);

/* log_follow(fn or nil): fn() when there are new lines */
int lua_log_follow(lua_State *L);

/* log_read([at]): the lines that are kept from this position on (default: all), the position behind them, and whether
 * lines at `at` are kept no more */
int lua_log_read(lua_State *L);

/* log_restore(lines, position): log_read() of the master before an upgrade; before the first line of this one */
int lua_log_restore(lua_State *L);

/* log_pending(): what standard error has not taken yet; log_pend(bytes): goes before all other lines */
int lua_log_pending(lua_State *L);
int lua_log_pend(lua_State *L);

/* captures(): array of { fd, pid, role, rest, level }; adopt_captures(array): goes on with them, after the pools. */
int lua_log_captures(lua_State *L);
int lua_log_adopt_captures(lua_State *L);

#endif
