/* MASTER. How many processors this process may use. */
#ifndef CLUA_CPUS_H
#define CLUA_CPUS_H

/* The affinity mask (sched_getaffinity(2)), or less when the cgroup has a quota (cpu.max, cgroups(7)), rounded up.
 * At least 1. */
int cpus_usable(void);

#endif
