/* What workers have for the main thread: datagrams that are not theirs, and news of devices that calls wait for. Bounded:
 * a datagram that does not fit is dropped, as on any network, and comes again. News come before datagrams and have
 * room of their own, for more than there can be calls. Any number of threads put, one takes. */
#ifndef BK_BECKOND_MAILBOX_H
#define BK_BECKOND_MAILBOX_H

#include "base/addr.h"

enum {
    BK_MAILBOX_DATAGRAMS = 1024,
    BK_MAILBOX_NEWS = 16384,
    BK_MAIL_BYTES = 1500,
};

enum bk_mail_kind {
    BK_MAIL_DATAGRAM,
    BK_MAIL_NEWS, /* of `equipment_id`; nothing else is set */
};

struct bk_mail {
    enum bk_mail_kind kind;
    uint8_t shard, local; /* where it came to */
    struct bk_addr from;
    uint64_t equipment_id;
    struct bk_slice bytes; /* when taken: lives until the next is */
};

struct bk_mailbox;

/* BK_E_NOMEM, BK_E_IO errno tells. */
BK_NODISCARD enum bk_err bk_mailbox_new(struct bk_mailbox **out);
void bk_mailbox_free(struct bk_mailbox *m);

/* Readable while there is something. */
int bk_mailbox_fd(const struct bk_mailbox *m);

/* False: there was no room, or more bytes than there may be. Any thread. */
bool bk_mailbox_put(struct bk_mailbox *m, const struct bk_mail *mail);

/* The oldest of its kind; false: there is none of either. */
bool bk_mailbox_take(struct bk_mailbox *m, struct bk_mail *out);

#endif
