/* BOTH. What the kernel says of this process. */
#ifndef CLUA_PROCESS_H
#define CLUA_PROCESS_H

#include <stdint.h>

uint64_t process_rss_bytes(void); /* 0: not to be had */
uint64_t process_cpu_us(void);    /* user and system */

/* Descriptors that are open. Linux says so since 6.2; before, every number is looked at with poll(2): reading the folder
 * /proc/self/fd would take many times as long, which a master with thousands of clients has not. */
uint32_t process_fd_count(void);
uint32_t process_fd_count_by_poll(void);
uint32_t process_fd_limit(void); /* 0: none */

#endif
