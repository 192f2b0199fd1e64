#include "devices/subject.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool subject_parse(struct subject *s, const char *text)
{
    s->n = 0;
    while (*text != '\0') {
        char *end;
        long pid = strtol(text, &end, 10);

        if (pid <= 1 || end == text || s->n == SUBJECTS_MAX || (*end != ',' && *end != '\0')) {
            return false;
        }
        s->pids[s->n++] = (int)pid;
        text = *end == ',' ? end + 1 : end;
    }
    return s->n > 0;
}

/* Calls `with` for every thread; false if it says so of one. */
static bool each_task(int pid, bool (*with)(void *ctx, int pid, const char *task), void *ctx)
{
    char path[64];
    DIR *tasks;
    bool good = true;

    (void)snprintf(path, sizeof path, "/proc/%d/task", pid);
    tasks = opendir(path);
    if (tasks == NULL) {
        fprintf(stderr, "devices: process %d is gone\n", pid);
        exit(1);
    }
    for (struct dirent *e; good && (e = readdir(tasks)) != NULL;) {
        if (e->d_name[0] != '.') {
            good = with(ctx, pid, e->d_name);
        }
    }
    (void)closedir(tasks);
    return good;
}

/* What is in /proc/PID/task/TASK/NAME. */
static bool read_task(int pid, const char *task, const char *name, char *out, size_t cap)
{
    char path[96];
    FILE *f;
    size_t n;

    (void)snprintf(path, sizeof path, "/proc/%d/task/%s/%s", pid, task, name);
    f = fopen(path, "re");
    if (f == NULL) {
        return false;
    }
    n = fread(out, 1, cap - 1, f);
    out[n] = '\0';
    (void)fclose(f);
    return true;
}

static bool is_held(void *ctx, int pid, const char *task)
{
    char text[512];
    const char *after;

    (void)ctx;
    if (!read_task(pid, task, "stat", text, sizeof text)) {
        return true;
    }
    after = strrchr(text, ')'); /* a name may hold anything */
    return after == NULL || after[2] == 'T';
}

void subject_hold(const struct subject *s)
{
    const struct timespec moment = {.tv_nsec = 20000};

    for (unsigned i = 0; i < s->n; i++) {
        (void)kill(s->pids[i], SIGSTOP);
    }
    for (unsigned i = 0; i < s->n; i++) {
        while (!each_task(s->pids[i], is_held, NULL)) {
            (void)nanosleep(&moment, NULL);
        }
    }
}

void subject_let_go(const struct subject *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        (void)kill(s->pids[i], SIGCONT);
    }
}

static bool add_cpu(void *ctx, int pid, const char *task)
{
    char text[128];
    uint64_t *sum = ctx;

    if (read_task(pid, task, "schedstat", text, sizeof text)) {
        *sum += strtoull(text, NULL, 10);
    }
    return true;
}

uint64_t subject_cpu_ns(const struct subject *s)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < s->n; i++) {
        (void)each_task(s->pids[i], add_cpu, &sum);
    }
    return sum;
}

static void sum_sockets(const struct subject *s, uint64_t *waiting, uint64_t *dropped)
{
    char line[512];
    FILE *f = fopen("/proc/self/net/udp", "re");

    *waiting = *dropped = 0;
    if (f == NULL || fgets(line, sizeof line, f) == NULL) {
        perror("devices: /proc/self/net/udp");
        exit(1);
    }
    while (fgets(line, sizeof line, f) != NULL) {
        char *at = strchr(line, ':');
        char *end = strrchr(line, ' ');

        /* "  12: 0100007F:04B0 00000000:0000 07 00000000:00000000 ... drops" */
        at = at != NULL ? strchr(at + 1, ':') : NULL;
        if (at == NULL || strtoul(at + 1, NULL, 16) != s->port) {
            continue;
        }
        at = strchr(at + 1, ':');
        at = at != NULL ? strchr(at + 1, ':') : NULL;
        if (at != NULL) {
            *waiting += strtoull(at + 1, NULL, 16);
        }
        while (end != NULL && end > line && (end[1] == '\n' || end[1] == ' ' || end[1] == '\0')) {
            *end = '\0';
            end = strrchr(line, ' ');
        }
        *dropped += end != NULL ? strtoull(end + 1, NULL, 10) : 0;
    }
    (void)fclose(f);
}

uint64_t subject_waiting(const struct subject *s)
{
    uint64_t waiting, dropped;

    sum_sockets(s, &waiting, &dropped);
    return waiting;
}

uint64_t subject_dropped(const struct subject *s)
{
    uint64_t waiting, dropped;

    sum_sockets(s, &waiting, &dropped);
    return dropped;
}
