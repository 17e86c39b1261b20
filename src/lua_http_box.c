/* WORKER. The boxes behind req and res, and how a coroutine waits for an exchange; see lua_http.h. */
#include <lauxlib.h>
#include <uv.h>

#include "lua_host.h"
#include "lua_http.h"

/* A light userdata, which a script cannot make anyway, has no length. */
struct http_box *lua_http_check(lua_State *L, int index, const struct lua_http_class *class) {
    struct http_box *box = lua_touserdata(L, index);
    if (box && lua_objlen(L, index) == sizeof *box && box->class == class) return box;
    luaL_argerror(L, index,
                  class == &lua_http_request_class ? "a request is expected: call it as req:name()"
                                                   : "a response is expected: call it as res:name()");
    return NULL;
}

int lua_http_closed(lua_State *L) {
    lua_pushnil(L);
    lua_pushliteral(L, "the exchange is over");
    lua_pushliteral(L, "ECLOSED");
    return 3;
}

int lua_http_fail(lua_State *L, const char *function, int err, const char *why) {
    if (err == UV_EINVAL) {
        luaL_where(L, 1);
        lua_pushfstring(L, "%s: %s", function, why);
        lua_concat(L, 2);
        return lua_error(L);
    }
    return lua_http_closed(L);
}

int lua_http_wait(lua_State *L, void **waiter, int *ref) {
    lua_pushthread(L);
    *ref = luaL_ref(L, LUA_REGISTRYINDEX);
    *waiter = L;
    return lua_yield(L, 0);
}

int lua_http_set_field(lua_State *L, struct http_box *box) {
    int base = lua_gettop(L) - 2; /* object, name, value */
    if (!box->has_fields) {
        lua_createtable(L, 0, 4);
        lua_pushvalue(L, -1);
        lua_setfenv(L, base);
        box->has_fields = true;
    } else {
        lua_getfenv(L, base);
    }
    lua_insert(L, base + 1);
    lua_rawset(L, base + 1);
    lua_settop(L, base - 1);
    return 0;
}

/* Upvalue: names -> methods, or number of a field, from 1. What the script has set comes first: a middleware may wrap a
 * method. */
static int box_index(lua_State *L) {
    struct http_box *box = lua_touserdata(L, 1);
    if (box->has_fields) {
        lua_getfenv(L, 1);
        lua_pushvalue(L, 2);
        lua_rawget(L, -2);
        if (!lua_isnil(L, -1)) return 1;
        lua_pop(L, 2);
    }
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    int field = (int)lua_tointeger(L, -1); /* 0 for all that is no number */
    if (field == 0) return 1;
    return box->exchange ? box->class->get(L, box, field - 1) : 0;
}

static int box_newindex(lua_State *L) {
    return lua_http_set_field(L, lua_touserdata(L, 1));
}

static int box_tostring(lua_State *L) {
    const struct http_box *box = lua_touserdata(L, 1);
    const char *name = box->class == &lua_http_request_class ? "http request" : "http response";
    lua_pushfstring(L, "%s: %p%s", name, (const void *)box, box->exchange ? "" : " (over)");
    return 1;
}

void lua_http_class(lua_State *L, const struct lua_http_class *class) {
    luaL_newmetatable(L, class->name);
    lua_newtable(L);
    luaL_register(L, NULL, class->methods);
    for (int i = 0; class->fields[i]; i++) {
        lua_pushinteger(L, i + 1);
        lua_setfield(L, -2, class->fields[i]);
    }
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, box_index, 1);
    lua_setfield(L, -3, "__index");
    lua_pushcfunction(L, class->newindex ? class->newindex : box_newindex);
    lua_setfield(L, -3, "__newindex");
    lua_pushcfunction(L, box_tostring);
    lua_setfield(L, -3, "__tostring");
    lua_pushstring(L, class->name);
    lua_setfield(L, -3, "__name");
    lua_pushboolean(L, 0); /* the metamethods trust their first argument */
    lua_setfield(L, -3, "__metatable");
    lua_remove(L, -2);
}
