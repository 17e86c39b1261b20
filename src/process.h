/* BOTH. What the kernel says of this process, and of another one. */
#ifndef CLUA_PROCESS_H
#define CLUA_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

uint64_t process_rss_bytes(void);     /* 0: not to be had */
uint64_t process_cpu_us(void);        /* user and system */
uint64_t process_thread_cpu_us(void); /* of the calling thread */

/* The same of any process, in nanoseconds; 0: it is gone. */
uint64_t process_cpu_ns_of(pid_t pid);

/* The letter of its state, see proc_pid_stat(5); 0: it is gone, or there is no /proc. */
char process_state_of(pid_t pid);

/* Descriptors that are open. Linux says so since 6.2; before, every number is looked at with poll(2): reading the folder
 * /proc/self/fd would take many times as long, which a master with thousands of clients has not. */
uint32_t process_fd_count(void);
uint32_t process_fd_count_by_poll(void);
uint32_t process_fd_limit(void); /* 0: none */

#endif
