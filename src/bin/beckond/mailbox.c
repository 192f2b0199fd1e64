/* Two rings under a lock. The descriptor is written to when both stop being empty, and read when they are found empty:
 * it is readable whenever something is in. */
#include "bin/beckond/mailbox.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct ring {
    size_t first, n, size;
};

struct datagram {
    struct bk_mail mail;
    uint8_t bytes[BK_MAIL_BYTES];
};

struct bk_mailbox {
    pthread_mutex_t lock;
    int fd;
    struct ring ring[2]; /* by kind */
    /* Memory that is never written costs nothing: a ring that is empty begins at its beginning again. */
    struct datagram *datagrams;
    uint64_t *news;
    uint8_t taken[BK_MAIL_BYTES];
};

enum bk_err bk_mailbox_new(struct bk_mailbox **out)
{
    struct bk_mailbox *m = calloc(1, sizeof *m);

    if (m == NULL) {
        return BK_E_NOMEM;
    }
    (void)pthread_mutex_init(&m->lock, NULL); /* cannot fail without attributes */
    m->fd = -1;
    m->ring[BK_MAIL_DATAGRAM].size = BK_MAILBOX_DATAGRAMS;
    m->ring[BK_MAIL_NEWS].size = BK_MAILBOX_NEWS;
    m->datagrams = calloc(BK_MAILBOX_DATAGRAMS, sizeof *m->datagrams);
    m->news = calloc(BK_MAILBOX_NEWS, sizeof *m->news);
    if (m->datagrams == NULL || m->news == NULL) {
        bk_mailbox_free(m);
        return BK_E_NOMEM;
    }
    m->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (m->fd < 0) {
        bk_mailbox_free(m);
        return BK_E_IO;
    }
    *out = m;
    return BK_OK;
}

void bk_mailbox_free(struct bk_mailbox *m)
{
    if (m == NULL) {
        return;
    }
    if (m->fd >= 0) {
        (void)close(m->fd);
    }
    (void)pthread_mutex_destroy(&m->lock);
    free(m->datagrams);
    free(m->news);
    free(m);
}

int bk_mailbox_fd(const struct bk_mailbox *m)
{
    return m->fd;
}

static bool is_empty(const struct bk_mailbox *m)
{
    return m->ring[BK_MAIL_DATAGRAM].n == 0 && m->ring[BK_MAIL_NEWS].n == 0;
}

static void store(struct bk_mailbox *m, const struct bk_mail *mail)
{
    struct ring *ring = &m->ring[mail->kind];
    size_t place = (ring->first + ring->n++) % ring->size;

    if (mail->kind == BK_MAIL_NEWS) {
        m->news[place] = mail->equipment_id;
        return;
    }
    m->datagrams[place].mail = *mail;
    if (mail->bytes.n > 0) {
        memcpy(m->datagrams[place].bytes, mail->bytes.p, mail->bytes.n);
    }
}

bool bk_mailbox_put(struct bk_mailbox *m, const struct bk_mail *mail)
{
    bool fits, was_empty;

    if (mail->bytes.n > BK_MAIL_BYTES) {
        return false;
    }
    (void)pthread_mutex_lock(&m->lock);
    was_empty = is_empty(m);
    fits = m->ring[mail->kind].n < m->ring[mail->kind].size;
    if (fits) {
        store(m, mail);
    }
    if (fits && was_empty) {
        const uint64_t one = 1;
        /* Fails only where it is readable already. */
        ssize_t ignored = write(m->fd, &one, sizeof one);
        (void)ignored;
    }
    (void)pthread_mutex_unlock(&m->lock);
    return fits;
}

/* The place of the oldest, which is no longer in. */
static size_t leave(struct ring *ring)
{
    size_t place = ring->first;

    ring->n--;
    ring->first = ring->n == 0 ? 0 : (ring->first + 1) % ring->size;
    return place;
}

bool bk_mailbox_take(struct bk_mailbox *m, struct bk_mail *out)
{
    bool any;

    (void)pthread_mutex_lock(&m->lock);
    any = !is_empty(m);
    if (m->ring[BK_MAIL_NEWS].n > 0) {
        size_t place = leave(&m->ring[BK_MAIL_NEWS]);
        *out = (struct bk_mail){.kind = BK_MAIL_NEWS, .equipment_id = m->news[place]};
    } else if (any) {
        const struct datagram *d = &m->datagrams[leave(&m->ring[BK_MAIL_DATAGRAM])];
        *out = d->mail;
        memcpy(m->taken, d->bytes, d->mail.bytes.n);
        out->bytes = bk_slice(m->taken, d->mail.bytes.n);
    }
    if (is_empty(m)) {
        uint64_t count;
        ssize_t ignored = read(m->fd, &count, sizeof count);
        (void)ignored;
    }
    (void)pthread_mutex_unlock(&m->lock);
    return any;
}
