/* For the specs: what the C compiler thinks of the layouts that the FFI has read from the headers (spec/support/core.lua
 * compares), and the inline functions. */
#include "balance.h"
#include "blame.h"
#include "buckets.h"
#include "channel.h"
#include "segment.h"
#include "shared.h"
#include "siphash.h"
#include "slot_state.h"
#include "wheel.h"

struct core_layout {
    const char *type, *member; /* member NULL: the size of the type */
    size_t bytes;
};

#define SIZE(type)                                                                                                     \
    { #type, NULL, sizeof(struct type) }
#define OFFSET(type, member)                                                                                           \
    { #type, #member, offsetof(struct type, member) }

extern const struct core_layout core_layouts[];
const struct core_layout core_layouts[] = {
    SIZE(wheel_entry),
    OFFSET(wheel_entry, deadline_ms),
    SIZE(wheel),
    OFFSET(wheel, tick),
    OFFSET(wheel, count),
    SIZE(bucket),
    SIZE(buckets),
    OFFSET(buckets, cells),
    SIZE(bulkhead),
    OFFSET(bulkhead, ready),
    OFFSET(bulkhead, slow),
    OFFSET(bulkhead, lines),
    SIZE(shared),
    OFFSET(shared, bulkhead),
    SIZE(completion),
    SIZE(boot),
    OFFSET(boot, args),
    SIZE(figures),
    SIZE(served),
    OFFSET(served, request_time),
    OFFSET(served, held_time),
    SIZE(segment),
    OFFSET(segment, boot),
    OFFSET(segment, figures),
    OFFSET(segment, served),
    OFFSET(segment, values_version),
    OFFSET(segment, values),
    SIZE(segment_blame),
    OFFSET(segment, blames),
    OFFSET(segment, want),
    OFFSET(segment, ring_head),
    OFFSET(segment, ring_tail),
    OFFSET(segment, ring),
    OFFSET(segment, loans),
    SIZE(channel_loan),
    SIZE(channel_head),
    SIZE(channel_message),
    OFFSET(channel_message, u),
    SIZE(candidate),
    OFFSET(candidate, load),
    OFFSET(candidate, handed),
    SIZE(slot_verdict),
    OFFSET(slot_verdict, deadline),
    OFFSET(slot_verdict, actions),
    {NULL, NULL, 0},
};

uint32_t core_blame_begin(const char *line, size_t len, size_t available);
void core_blame_end(uint32_t ticket);
uint32_t core_blame_running(void);
uint32_t core_blame_switch(uint32_t ticket);
bool core_loan_swap(_Atomic uint32_t *word, uint32_t from, uint32_t to);
uint32_t core_segment_stamp(uint64_t now_ms);

bool core_loan_swap(_Atomic uint32_t *word, uint32_t from, uint32_t to) {
    return loan_swap(word, (enum loan_state)from, (enum loan_state)to);
}

uint32_t core_segment_stamp(uint64_t now_ms) {
    return segment_stamp(now_ms);
}

uint32_t core_blame_begin(const char *line, size_t len, size_t available) {
    return blame_begin(line, len, available);
}

void core_blame_end(uint32_t ticket) {
    blame_end(ticket);
}

uint32_t core_blame_running(void) {
    return blame_running();
}

uint32_t core_blame_switch(uint32_t ticket) {
    return blame_switch(ticket);
}

uint64_t siphash_for_specs(const uint64_t *key, const void *bytes, size_t len);
uint64_t siphash_for_specs(const uint64_t *key, const void *bytes, size_t len) {
    return siphash(key, bytes, len);
}
