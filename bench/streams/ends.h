/* Connections that are filled from one end as fast as they take it and emptied at the other, and what arrives meanwhile. Source
 * and sink copy nothing (sendfile, MSG_TRUNC), so that what is measured is whoever stands between them. */
#ifndef BENCH_ENDS_H
#define BENCH_ENDS_H

enum {
    ENDS_MAX = 1024,
    ENDS_PIDS_MAX = 16,
};

struct end {
    int cpu;
    int fds[ENDS_MAX];
};

struct ends {
    int n;
    struct end from, to;
    long warm_ms, measure_ms;
    int n_pids; /* whose processor time is counted */
    char **pids;
};

_Noreturn void die(const char *what);
/* Before it listens or connects: enough for whoever stands between to find work at any time; the same for all. */
void set_buffers(int fd, int n_streams);
/* One byte there and one back: the whole way stands. */
void check_way(int a, int b);
/* After warm_ms counts what arrives in measure_ms, and prints one line. */
void measure(struct ends *e);

#endif
