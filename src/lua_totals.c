/* MASTER. See lua_totals.h. */
#include "lua_totals.h"

#include <lauxlib.h>

#include "lua_field.h"
#include "lua_host.h"
#include "pool.h"

static lua_Number load(_Atomic const uint64_t *cell) {
    return (lua_Number)atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)cell, memory_order_relaxed);
}

/* ---- status --------------------------------------------------------------------------------------------------- */

/* { count, sum (seconds), buckets = { { upper bound (seconds), count }, ... } }: those that are not empty, in order; what
 * took longer than the last bound is in `count` alone. */
static void show_histogram(lua_State *L, const char *name, const struct histogram *histogram) {
    double count = 0;
    int shown = 0;
    lua_createtable(L, 0, 3);
    lua_newtable(L);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        double here = load(&histogram->buckets[i]);
        uint64_t bound_us = histogram_bound_us(i);
        count += here;
        if (here == 0 || bound_us == 0) continue;
        lua_createtable(L, 2, 0);
        lua_pushnumber(L, (double)bound_us / 1e6);
        lua_rawseti(L, -2, 1);
        lua_pushnumber(L, here);
        lua_rawseti(L, -2, 2);
        lua_rawseti(L, -2, ++shown);
    }
    lua_setfield(L, -2, "buckets");
    set_number(L, "count", count);
    set_number(L, "sum", load(&histogram->sum_ns) / 1e9);
    lua_setfield(L, -2, name);
}

static void show_responses(lua_State *L, const struct served *served) {
    static const char *const names[SERVED_CLASSES] = {"1xx", "2xx", "3xx", "4xx", "5xx"};
    lua_createtable(L, 0, SERVED_CLASSES);
    for (int i = 0; i < SERVED_CLASSES; i++) set_number(L, names[i], load(&served->responses[i]));
    lua_setfield(L, -2, "responses");
}

static void show_places(lua_State *L, const struct totals *totals) {
    lua_createtable(L, (int)totals->places_len, 0);
    for (uint32_t i = 0; i < totals->places_len; i++) {
        lua_createtable(L, 0, 2);
        set_number(L, "requests", (double)totals->places[i].requests);
        set_number(L, "cpu", (double)totals->places[i].cpu_us / 1e6);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, "places");
}

void lua_totals_show(lua_State *L, const struct pool *pool) {
    static struct totals sum; /* keeps its memory, so that an error of Lua leaks none */
    double requests = 0;
    if (totals_sum(pool, &sum) < 0) {
        luaL_error(L, "out of memory");
        return;
    }
    for (uint32_t i = 0; i < sum.places_len; i++) requests += (double)sum.places[i].requests;
    set_number(L, "requests", requests);
    set_number(L, "held", load(&sum.served.held));
    show_responses(L, &sum.served);
    show_histogram(L, "held_time", &sum.served.held_time);
    show_histogram(L, "request_time", &sum.served.request_time);
    show_histogram(L, "queue_time", &pool->queue_time);
    show_places(L, &sum);
}

/* ---- upgrade -------------------------------------------------------------------------------------------------- */

static void push_cells(lua_State *L, const char *name, _Atomic const uint64_t *cells, int count) {
    lua_createtable(L, count, 0);
    for (int i = 0; i < count; i++) {
        lua_pushnumber(L, load(&cells[i]));
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, name);
}

static void adopt_cells(lua_State *L, const char *name, _Atomic uint64_t *cells, int count) {
    lua_getfield(L, -1, name);
    for (int i = 0; i < count && lua_istable(L, -1); i++) {
        lua_rawgeti(L, -1, i + 1);
        atomic_store_explicit(&cells[i], (uint64_t)lua_tonumber(L, -1), memory_order_relaxed);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

void lua_totals_push(lua_State *L, const struct pool *pool) {
    const struct totals *totals = &pool->totals;
    lua_createtable(L, 0, 10);
    push_cells(L, "responses", totals->served.responses, SERVED_CLASSES);
    push_cells(L, "request_time", totals->served.request_time.buckets, HISTOGRAM_BUCKETS);
    set_number(L, "held", load(&totals->served.held));
    push_cells(L, "held_time", totals->served.held_time.buckets, HISTOGRAM_BUCKETS);
    set_number(L, "held_ns", load(&totals->served.held_time.sum_ns));
    set_number(L, "request_ns", load(&totals->served.request_time.sum_ns));
    push_cells(L, "queue_time", pool->queue_time.buckets, HISTOGRAM_BUCKETS);
    set_number(L, "queue_ns", load(&pool->queue_time.sum_ns));
    lua_createtable(L, (int)totals->places_len * 2, 0);
    for (uint32_t i = 0; i < totals->places_len; i++) {
        lua_pushnumber(L, (double)totals->places[i].requests);
        lua_rawseti(L, -2, (int)i * 2 + 1);
        lua_pushnumber(L, (double)totals->places[i].cpu_us);
        lua_rawseti(L, -2, (int)i * 2 + 2);
    }
    lua_setfield(L, -2, "places");
}

int lua_totals_adopt(lua_State *L, struct pool *pool) {
    struct totals *totals = &pool->totals;
    adopt_cells(L, "responses", totals->served.responses, SERVED_CLASSES);
    adopt_cells(L, "request_time", totals->served.request_time.buckets, HISTOGRAM_BUCKETS);
    adopt_cells(L, "held_time", totals->served.held_time.buckets, HISTOGRAM_BUCKETS);
    adopt_cells(L, "queue_time", pool->queue_time.buckets, HISTOGRAM_BUCKETS);
    totals->served.held = (uint64_t)number_at(L, lua_gettop(L), "held");
    totals->served.held_time.sum_ns = (uint64_t)number_at(L, lua_gettop(L), "held_ns");
    totals->served.request_time.sum_ns = (uint64_t)number_at(L, lua_gettop(L), "request_ns");
    pool->queue_time.sum_ns = (uint64_t)number_at(L, lua_gettop(L), "queue_ns");
    lua_getfield(L, -1, "places");
    uint32_t count = (uint32_t)lua_objlen(L, -1) / 2;
    int err = totals_reserve(totals, count) ? 0 : UV_ENOMEM;
    for (uint32_t i = 0; i < count && err == 0; i++) {
        lua_rawgeti(L, -1, (int)i * 2 + 1);
        totals->places[i].requests = (uint64_t)lua_tonumber(L, -1);
        lua_rawgeti(L, -2, (int)i * 2 + 2);
        totals->places[i].cpu_us = (uint64_t)lua_tonumber(L, -1);
        lua_pop(L, 2);
    }
    lua_pop(L, 1);
    return err;
}
