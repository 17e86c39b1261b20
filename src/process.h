/* BOTH. What the kernel says of this process. */
#ifndef CLUA_PROCESS_H
#define CLUA_PROCESS_H

#include <stdint.h>

uint64_t process_rss_bytes(void); /* 0: not to be had */
uint64_t process_cpu_us(void);    /* user and system */

/* Descriptors that are open. Reads a directory when the kernel is older than 6.2: a moment for each of thousands. */
uint32_t process_fd_count(void);
uint32_t process_fd_limit(void); /* 0: none */

#endif
