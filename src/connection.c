/* MASTER. See connection.h. Connections live in blocks that never move and are used again through a free list. */
#include "connection.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 256 };

static struct connection **blocks;
static uint32_t block_count;
static struct link free_list = {&free_list, &free_list};

void connection_unlink(struct connection *connection) {
    connection->link.prev->next = connection->link.next;
    connection->link.next->prev = connection->link.prev;
    link_init(&connection->link);
}

static void link_after(struct link *at, struct connection *connection) {
    connection->link.next = at->next;
    connection->link.prev = at;
    at->next->prev = &connection->link;
    at->next = &connection->link;
}

static bool add_block(void) {
    struct connection **grown = realloc(blocks, (block_count + 1) * sizeof(*blocks));
    if (!grown) return false;
    blocks = grown;
    struct connection *block = calloc(BLOCK, sizeof *block);
    if (!block) return false;
    for (uint32_t i = BLOCK; i-- > 0;) {
        block[i].index = block_count * BLOCK + i;
        block[i].fd = -1;
        link_after(&free_list, &block[i]);
    }
    blocks[block_count++] = block;
    return true;
}

struct connection *connection_new(struct pool *pool, int fd, uint16_t port) {
    if (link_alone(&free_list) && !add_block()) return NULL;
    struct connection *connection = connection_of(free_list.next);
    connection_unlink(connection);
    uint32_t index = connection->index, generation = connection->generation;
    memset(connection, 0, sizeof *connection);
    link_init(&connection->link);
    connection->index = index;
    connection->generation = generation;
    connection->pool = pool;
    connection->fd = fd;
    connection->port = port;
    return connection;
}

void connection_free(struct connection *connection) {
    connection_unlink(connection);
    if (connection->fd >= 0) close(connection->fd);
    connection->fd = -1;
    connection->pool = NULL;
    connection->generation++;
    link_after(&free_list, connection);
}

uint64_t connection_name(const struct connection *connection) {
    return (uint64_t)connection->generation << 32 | connection->index;
}

struct connection *connection_find(uint64_t name) {
    uint32_t index = (uint32_t)name;
    if (index / BLOCK >= block_count) return NULL;
    struct connection *connection = &blocks[index / BLOCK][index % BLOCK];
    return connection->generation == (uint32_t)(name >> 32) && connection->fd >= 0 ? connection : NULL;
}

void connection_move(struct connection *connection, enum connection_place place, struct link *list,
                     enum connection_end end) {
    connection_unlink(connection);
    connection->place = (uint8_t)place;
    link_after(end == CONNECTION_FIRST ? list : list->prev, connection);
}

struct connection *connection_after(const struct connection *connection) {
    uint32_t index = connection ? connection->index + 1 : 0;
    for (; index / BLOCK < block_count; index++) {
        struct connection *next = &blocks[index / BLOCK][index % BLOCK];
        if (next->pool) return next;
    }
    return NULL;
}
