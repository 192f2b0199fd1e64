/* beckond epoch: the master keys that registration keys derive from, by epoch. A new one is the current one at once;
 * devices of older ones are told to renew; a retired one is worth nothing. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/number.h"
#include "bin/beckond/admin_client.h"
#include "bin/beckond/cmd.h"
#include "bin/beckond/say.h"
#include "bin/beckond/state.h"
#include "seal/seal.h"

struct masters {
    int lock; /* the file that we read, locked against other such commands; -1 */
    size_t n;
    struct bk_master_key key[BK_SERVER_EPOCHS_MAX]; /* the current one first */
};

/* The file is replaced whole at every change: the lock counts if it is on the one that is there now. False: errno. */
static bool lock_current(const char *path, int *fd)
{
    struct stat ours, there;

    for (;;) {
        *fd = open(path, O_RDONLY | O_CLOEXEC);
        if (*fd < 0) {
            return false;
        }
        bool locked = flock(*fd, LOCK_EX) == 0;
        int kept = errno;

        if (locked && fstat(*fd, &ours) == 0 && stat(path, &there) == 0 &&
            ours.st_ino == there.st_ino && ours.st_dev == there.st_dev) {
            return true;
        }
        (void)close(*fd);
        *fd = -1;
        if (!locked) { /* a file system without locks will have none later either */
            errno = kept;
            return false;
        }
    }
}

static void forget(struct masters *m)
{
    if (m->lock >= 0) {
        (void)close(m->lock);
    }
    bk_wipe(m->key, sizeof m->key);
}

static enum beckon_status load(const char *dir, struct masters *m)
{
    char path[BK_STATE_PATH_BYTES];
    enum bk_err err = bk_state_path(dir, BK_STATE_MASTER_KEYS, path);

    m->lock = -1;
    m->n = 0;
    if (err == BK_OK && !lock_current(path, &m->lock)) {
        bk_say("%s: %s; is this a state directory made by beckond init, and yours to read?", path,
               strerror(errno));
        return BECKON_FAILED;
    }
    if (err == BK_OK) {
        err = bk_state_master_load(dir, m->key, &m->n);
    }
    if (err != BK_OK) {
        bk_say("%s in %s: %s; restore it from a backup", BK_STATE_MASTER_KEYS, dir,
               bk_err_text(err));
        return err == BK_E_MALFORMED ? BECKON_BAD_CONFIG : BECKON_FAILED;
    }
    return BECKON_OK;
}

static enum beckon_status save(const char *dir, const struct masters *m)
{
    enum bk_err err = bk_state_master_save(dir, m->key, m->n);

    if (err != BK_OK) {
        bk_say("%s in %s: %s; nothing has been changed", BK_STATE_MASTER_KEYS, dir,
               err == BK_E_IO ? strerror(errno) : bk_err_text(err));
        return BECKON_FAILED;
    }
    return bk_admin_tell(dir, BK_ADMIN_MASTERS_CHANGED, NULL);
}

/* ---- new ---- */

/* An epoch keeps its place in the location table by its lowest bits: one that is still accepted is passed
 * over. 0: none is left. */
static uint16_t next_epoch(const struct masters *m)
{
    unsigned highest = 0;

    for (size_t i = 0; i < m->n; i++) {
        highest = m->key[i].epoch > highest ? m->key[i].epoch : highest;
    }
    for (unsigned e = highest + 1; e <= UINT16_MAX; e++) {
        bool is_free = true;
        for (size_t i = 0; i < m->n; i++) {
            is_free = is_free && m->key[i].epoch % BK_SERVER_EPOCHS_MAX != e % BK_SERVER_EPOCHS_MAX;
        }
        if (is_free) {
            return (uint16_t)e;
        }
    }
    return 0;
}

static enum beckon_status new_epoch(const char *dir, struct masters *m)
{
    struct bk_random rng = bk_random_system();
    uint16_t epoch = 0;
    enum beckon_status status;

    if (m->n == BK_SERVER_EPOCHS_MAX) {
        bk_say("there are %d epochs already; retire one that no device uses any more first",
               BK_SERVER_EPOCHS_MAX);
        return BECKON_FAILED;
    }
    epoch = next_epoch(m);
    if (epoch == 0) {
        bk_say("no epoch number is left; make a new state directory");
        return BECKON_FAILED;
    }
    memmove(&m->key[1], &m->key[0], m->n * sizeof m->key[0]);
    m->n++;
    m->key[0].epoch = epoch;
    rng.fill(rng.ctx, m->key[0].key, sizeof m->key[0].key);
    status = save(dir, m);
    if (status == BECKON_OK) {
        (void)printf("%u\n", epoch);
    }
    return status;
}

/* ---- retire ---- */

static enum beckon_status retire(const char *dir, struct masters *m, const char *word)
{
    uint64_t epoch = 0;
    size_t at = 0;
    char shown[64];

    bk_say_escape(bk_slice_text(word), shown, sizeof shown);
    if (bk_number_parse(bk_slice_text(word), UINT16_MAX, &epoch) != BK_OK) {
        bk_say("%s is no epoch; beckond epoch list shows them", shown);
        return BECKON_USAGE;
    }
    while (at < m->n && m->key[at].epoch != epoch) {
        at++;
    }
    if (at == m->n) {
        bk_say("there is no epoch %s; beckond epoch list shows them", shown);
        return BECKON_FAILED;
    }
    if (at == 0) {
        bk_say("epoch %s is the current one; make another with beckond epoch new first", shown);
        return BECKON_FAILED;
    }
    m->n--;
    memmove(&m->key[at], &m->key[at + 1], (m->n - at) * sizeof m->key[0]);
    return save(dir, m);
}

/* ---- list ---- */

struct counts {
    const struct masters *masters;
    uint64_t devices[BK_SERVER_EPOCHS_MAX];
};

static bool count_row(void *ctx, struct bk_slice line)
{
    struct counts *counts = ctx;
    struct bk_admin_row row;

    if (!bk_admin_row_read(line, &row)) {
        return false;
    }
    for (size_t i = 0; i < counts->masters->n; i++) {
        counts->devices[i] += counts->masters->key[i].epoch == row.epoch;
    }
    return true;
}

static enum beckon_status list(const char *dir, const struct masters *m)
{
    struct counts counts = {.masters = m};
    bool running = bk_admin_running(dir);
    enum beckon_status status = BECKON_OK;
    bool ok = true;

    if (running) {
        status = bk_admin_ask(dir, BK_ADMIN_DEVICES, count_row, &counts);
    }
    if (status != BECKON_OK) {
        return status;
    }
    ok = printf("%-5s  %-10s\n", "EPOCH", "REGISTERED") >= 0;
    for (size_t i = 0; ok && i < m->n; i++) {
        char devices[21] = "-";
        if (running) {
            bk_number_format(counts.devices[i], devices);
        }
        ok = printf("%-5u  %-10s%s\n", m->key[i].epoch, devices, i == 0 ? "  current" : "") >= 0;
    }
    if (!ok) {
        bk_say("standard output cannot be written; free some space");
        return BECKON_FAILED;
    }
    return BECKON_OK;
}

enum action {
    NEW,
    RETIRE,
    LIST,
};

/* Which of the three, and whether it has the words that it needs. */
static enum beckon_status choose(int argc, char **argv, const char **dir, enum action *action,
                                 const char **word)
{
    static const struct {
        const char *name;
        int words;
    } actions[] = {{"new", 1}, {"retire", 2}, {"list", 1}};
    const struct bk_option options[] = {{"--state", dir, 1, NULL, NULL, true}};
    int got = 0;
    enum beckon_status status = bk_options_parse("beckond", argc, argv, options, 1, &got);

    if (status != BECKON_OK) {
        return status;
    }
    for (size_t i = 0; got > 0 && i < sizeof actions / sizeof actions[0]; i++) {
        if (strcmp(argv[1], actions[i].name) == 0 && got == actions[i].words) {
            *action = (enum action)i;
            *word = got > 1 ? argv[2] : NULL;
            return BECKON_OK;
        }
    }
    bk_say("beckond epoch knows new, retire EPOCH and list; see beckond epoch --help");
    return BECKON_USAGE;
}

static enum beckon_status run(int argc, char **argv)
{
    const char *dir = NULL, *word = NULL;
    enum action action = LIST;
    struct masters m;
    enum beckon_status status = choose(argc, argv, &dir, &action, &word);

    if (status != BECKON_OK) {
        return status;
    }
    status = load(dir, &m);
    if (status == BECKON_OK) {
        status = action == LIST     ? list(dir, &m)
                 : action == RETIRE ? retire(dir, &m, word)
                                    : new_epoch(dir, &m);
    }
    forget(&m);
    return status;
}

const struct bk_command bk_cmd_epoch = {
    .name = "epoch",
    .summary = "change the master key of registrations",
    .help =
        "usage: beckond epoch new --state DIR\n"
        "       beckond epoch retire EPOCH --state DIR\n"
        "       beckond epoch list --state DIR\n\n"
        "The registration keys of all devices derive from a master key. new makes another one, "
        "prints\n"
        "its epoch, and has it used from then on, at once in a running server; devices with keys "
        "of\n"
        "older epochs are told to renew them, which they do within a day. retire makes an older "
        "one\n"
        "worth nothing: devices that still had it renew theirs by TLS. list shows the epochs that "
        "are\n"
        "accepted, and how many of the registered devices use each. At most four at a time.\n",
    .run = run,
};
