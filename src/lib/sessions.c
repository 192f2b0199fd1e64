/* The file of sessions: places of equal size, each by itself. Several processes read and write it without a lock: what two
 * of them wrote at once, or one wrote half, has a wrong digest and is nothing. Invariant: nothing in the file can make a
 * connection fail or trust anybody; a session is judged by net/tls_resume.c before it is offered.
 *
 * Who reads the file can speak to the server as its owner for as long as a session lives, without the private key: so it
 * has the private key's mode and place. */
#include "lib/sessions.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "lib/files.h"
#include "net/clock.h"

#define FILE_NAME "sessions"

enum {
    DIGEST_BYTES = 32,
    USES_AT = DIGEST_BYTES, /* not part of what the digest covers: counted in place */
    NAME_AT = USES_AT + 1,
    TIME_AT = NAME_AT + DIGEST_BYTES,
    LENGTH_AT = TIME_AT + 8,
    SESSION_AT = LENGTH_AT + 2,
    PLACE_BYTES = 3200,
};

_Static_assert(SESSION_AT + BK_TLS_SESSION_MAX_BYTES <= PLACE_BYTES, "a session fits its place");

struct bk_sessions {
    unsigned holders;
    int fd;
};

/* What one client keeps, and where it looks. */
struct kept {
    struct bk_sessions *sessions;
    uint8_t name[DIGEST_BYTES];
};

/* ---- The file ---- */

/* Ours, and nobody else's to read or write. */
static bool is_private(int fd, const struct stat *folder)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 077) == 0 &&
           st.st_nlink == 1 && (st.st_uid == geteuid() || st.st_uid == folder->st_uid);
}

static int open_file(const char *path, const struct stat *folder, int flags)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags, 0600);

    if (fd < 0) {
        return -1;
    }
    if ((flags & O_EXCL) != 0 && geteuid() == 0 &&
        fchown(fd, folder->st_uid, folder->st_gid) != 0) {
        close(fd);
        return -1;
    }
    if (!is_private(fd, folder)) {
        close(fd);
        errno = EPERM;
        return -1;
    }
    return fd;
}

/* One that anybody could have written or read makes room for a new one. */
static int open_or_make(const char *path, const struct stat *folder)
{
    int fd = open_file(path, folder, 0);

    if (fd < 0 && errno == EPERM) {
        (void)unlink(path);
    }
    return fd >= 0 ? fd : open_file(path, folder, O_CREAT | O_EXCL);
}

struct bk_sessions *bk_sessions_open(const char *state_dir)
{
    char path[BK_PATH_BYTES];
    struct stat folder;
    struct bk_sessions *s = NULL;

    if (bk_file_path(state_dir, FILE_NAME, path) != BK_OK || stat(state_dir, &folder) != 0) {
        return NULL;
    }
    s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    s->holders = 1;
    s->fd = open_or_make(path, &folder);
    if (s->fd < 0) {
        free(s);
        return NULL;
    }
    return s;
}

void bk_sessions_close(struct bk_sessions *s)
{
    if (s == NULL || --s->holders > 0) {
        return;
    }
    close(s->fd);
    free(s);
}

void bk_sessions_forget(const char *state_dir)
{
    static const uint8_t nothing[PLACE_BYTES];
    char path[BK_PATH_BYTES];
    struct stat folder;
    int fd = -1;

    if (bk_file_path(state_dir, FILE_NAME, path) != BK_OK || stat(state_dir, &folder) != 0) {
        return;
    }
    fd = open_file(path, &folder, 0);
    for (int i = 0; fd >= 0 && i < BK_SESSIONS_PLACES; i++) {
        if (pwrite(fd, nothing, sizeof nothing, (off_t)i * PLACE_BYTES) < 0) {
            break;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    (void)unlink(path);
}

/* ---- Places ---- */

static uint64_t read_number(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < n; i++) {
        v = v << 8 | p[i];
    }
    return v;
}

static void write_number(uint8_t *p, unsigned n, uint64_t v)
{
    for (unsigned i = n; i > 0; i--) {
        p[i - 1] = (uint8_t)v;
        v >>= 8;
    }
}

static bool digest_of(const uint8_t *place, size_t n, uint8_t out[DIGEST_BYTES])
{
    unsigned bytes = 0;

    return EVP_Digest(place + NAME_AT, n - NAME_AT, out, &bytes, EVP_sha256(), NULL) == 1 &&
           bytes == DIGEST_BYTES;
}

/* Reads place `i` if it is `name`'s. True: whole, and it may be used once more. */
static bool read_place(const struct bk_sessions *s, int i, const uint8_t name[DIGEST_BYTES],
                       uint8_t place[PLACE_BYTES], struct bk_slice *session)
{
    uint8_t digest[DIGEST_BYTES];
    ssize_t got = pread(s->fd, place, PLACE_BYTES, (off_t)i * PLACE_BYTES);
    size_t n = 0;

    if (got < SESSION_AT || memcmp(place + NAME_AT, name, DIGEST_BYTES) != 0) {
        return false;
    }
    n = (size_t)read_number(place + LENGTH_AT, 2);
    if (n == 0 || n > BK_TLS_SESSION_MAX_BYTES || n > (size_t)got - SESSION_AT ||
        !digest_of(place, SESSION_AT + n, digest) ||
        CRYPTO_memcmp(digest, place, DIGEST_BYTES) != 0 || place[USES_AT] >= BK_SESSIONS_USES) {
        return false;
    }
    *session = bk_slice(place + SESSION_AT, n);
    return true;
}

/* False where that cannot be noted: then it is not used either, or it would be for ever. */
static bool count_use(const struct bk_sessions *s, int i, uint8_t uses)
{
    return pwrite(s->fd, &uses, 1, (off_t)i * PLACE_BYTES + USES_AT) == 1;
}

/* The place of that name, or the one that can best be spared: what was never written, or written longest ago. */
static int place_for(const struct bk_sessions *s, const uint8_t name[DIGEST_BYTES])
{
    uint8_t head[SESSION_AT];
    uint64_t oldest = UINT64_MAX;
    int best = 0;

    for (int i = 0; i < BK_SESSIONS_PLACES; i++) {
        uint64_t at = 0;
        if (pread(s->fd, head, sizeof head, (off_t)i * PLACE_BYTES) == (ssize_t)sizeof head) {
            if (memcmp(head + NAME_AT, name, DIGEST_BYTES) == 0) {
                return i;
            }
            at = read_number(head + TIME_AT, 8);
        }
        if (at < oldest) {
            oldest = at;
            best = i;
        }
    }
    return best;
}

/* ---- What a client does with it ---- */

static void keep(void *ctx, struct bk_slice session)
{
    const struct kept *k = ctx;
    uint8_t place[PLACE_BYTES] = {0};

    if (session.n > BK_TLS_SESSION_MAX_BYTES) {
        return;
    }
    memcpy(place + NAME_AT, k->name, DIGEST_BYTES);
    write_number(place + TIME_AT, 8, bk_clock_unix_s());
    write_number(place + LENGTH_AT, 2, session.n);
    memcpy(place + SESSION_AT, session.p, session.n);
    if (digest_of(place, SESSION_AT + session.n, place)) {
        off_t at = (off_t)place_for(k->sessions, k->name) * PLACE_BYTES;
        ssize_t ignored = pwrite(k->sessions->fd, place, sizeof place, at);
        (void)ignored;
    }
    OPENSSL_cleanse(place, sizeof place);
}

static void drop(void *ctx)
{
    struct kept *k = ctx;

    bk_sessions_close(k->sessions);
    free(k);
}

/* Who with whom about what: our certificate, the authority, the server and the protocol. */
static bool name_of(const struct bk_tls_client *client, uint8_t out[DIGEST_BYTES])
{
    const char *const texts[] = {client->host, client->peer_uri, client->alpn};
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    unsigned n = 0;
    bool ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
              bk_x509_digest_into(client->cert, md) && bk_x509_digest_into(client->ca, md);

    for (size_t i = 0; ok && i < sizeof texts / sizeof texts[0]; i++) {
        ok = EVP_DigestUpdate(md, texts[i], strlen(texts[i]) + 1) == 1;
    }
    ok = ok && EVP_DigestFinal_ex(md, out, &n) == 1 && n == DIGEST_BYTES;
    EVP_MD_CTX_free(md);
    return ok;
}

static void offer(const struct kept *k, struct bk_tls *tls)
{
    uint8_t place[PLACE_BYTES];
    struct bk_slice session;

    for (int i = 0; i < BK_SESSIONS_PLACES; i++) {
        if (!read_place(k->sessions, i, k->name, place, &session)) {
            continue;
        }
        if (bk_tls_offer_session(tls, session) != BK_OK) {
            (void)count_use(k->sessions, i, BK_SESSIONS_USES);
        } else if (!count_use(k->sessions, i, (uint8_t)(place[USES_AT] + 1))) {
            bk_tls_offer_none(tls);
        }
        break;
    }
    OPENSSL_cleanse(place, sizeof place);
}

void bk_sessions_use(struct bk_sessions *s, const struct bk_tls_client *client, struct bk_tls *tls)
{
    struct kept *k = NULL;

    if (s == NULL || client->ca == NULL || client->cert == NULL) {
        return;
    }
    k = calloc(1, sizeof *k);
    if (k == NULL || !name_of(client, k->name)) {
        free(k);
        return;
    }
    k->sessions = s;
    s->holders++;
    bk_tls_set_keeper(tls, &(struct bk_tls_keeper){.ctx = k, .keep = keep, .drop = drop});
    offer(k, tls);
}
