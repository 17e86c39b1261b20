/* MASTER. See lua_blame.h. All that stands in a segment is its worker's word, and its clients'. */
#include "lua_blame.h"

#include <string.h>

#include <lauxlib.h>

#include "channel.h"
#include "lua_host.h"
#include "pool.h"

static void push_entry(lua_State *L, const struct segment_blame *entry, bool running) {
    size_t len = entry->line_len, kept = len < sizeof entry->line ? len : sizeof entry->line;
    lua_createtable(L, 0, 3);
    lua_pushlstring(L, entry->line, kept);
    lua_setfield(L, -2, "line");
    lua_pushnumber(L, (lua_Number)len);
    lua_setfield(L, -2, "len");
    lua_pushboolean(L, running);
    lua_setfield(L, -2, "running");
}

void lua_blame_push(lua_State *L, const struct slot *slot) {
    const struct segment_blames *blames = &slot->segment->blames;
    uint32_t running = blames->running;
    int count = 0;
    lua_newtable(L);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < SEGMENT_BLAMES; i++) {
            const struct segment_blame *entry = &blames->entries[i];
            bool runs = running != 0 && entry->ticket == running;
            if (pass == 0 ? !runs : runs || !entry->in_execution) continue;
            push_entry(L, entry, runs);
            lua_rawseti(L, -2, ++count);
        }
    }
}

int lua_blame_quarantine(lua_State *L) {
    static struct channel_message message;
    size_t kept;
    struct slot *slot = slot_of_serial((uint32_t)luaL_checkinteger(L, 1));
    const char *line = luaL_checklstring(L, 2, &kept);
    lua_Number len = luaL_checknumber(L, 3), seconds = luaL_checknumber(L, 4);
    if (!slot) return host_fail(L, UV_ESRCH);
    size_t reply_len = slot->pool->options.lost_len;
    if (kept > SEGMENT_BLAME_BYTES || kept + reply_len > sizeof message.u.quarantine.bytes)
        return host_fail(L, UV_E2BIG);
    message.head = (struct channel_head){.type = CHANNEL_QUARANTINE, .len = (uint32_t)(12 + kept + reply_len)};
    message.u.quarantine.ms = seconds > 4000000 ? 4000000000U : seconds > 0 ? (uint32_t)(seconds * 1000) : 0;
    message.u.quarantine.line_len = (uint32_t)len;
    message.u.quarantine.kept = (uint32_t)kept;
    memcpy(message.u.quarantine.bytes, line, kept);
    memcpy(message.u.quarantine.bytes + kept, slot->pool->options.lost, reply_len);
    int err = slot_send(slot, &message);
    if (err < 0) return host_fail(L, err);
    lua_pushboolean(L, 1);
    return 1;
}
