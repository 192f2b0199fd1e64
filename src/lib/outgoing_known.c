/* What earlier calls learnt of a device, DIR/devices/ID: its certificate, its box key, and the address of ours to which it
 * came. Nothing in it is secret, and nothing is trusted: core/requester/known.c verifies it as it does the server's word. A
 * file that cannot be read or written costs the next call a question to the server, and no more.
 *
 *   u8 version (1) · address (16) · u16 port · box key (113) · certificate
 *
 * Invariant: it is written only after a call that the device came up by at an address of ours, and not while somebody waits
 * for that call's first bytes. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/number.h"
#include "lib/outgoing_private.h"

enum {
    VERSION = 1,
    ADDR_AT = 1,
    PORT_AT = ADDR_AT + 16,
    BOX_AT = PORT_AT + 2,
    CERT_AT = BOX_AT + BK_BOX_KEY_BYTES,
    FILE_BYTES = CERT_AT + BK_REQUESTER_CERT_MAX_BYTES,
    LATER_MS = 1000,
};

static const char folder[] = "devices";

static enum bk_err path_of(const struct bk_outgoing *c, char out[BK_PATH_BYTES])
{
    char id[21];
    int n;

    bk_number_format(c->equipment_id, id);
    n = snprintf(out, BK_PATH_BYTES, "%s/%s/%s", c->client->state_dir, folder, id);
    return n < 0 || n >= BK_PATH_BYTES ? BK_E_RANGE : BK_OK;
}

void bk_outgoing_load_known(struct bk_outgoing *c, struct bk_requester_known *out)
{
    uint8_t bytes[FILE_BYTES];
    char dir[BK_PATH_BYTES], id[21];
    size_t n;

    *out = (struct bk_requester_known){0};
    bk_number_format(c->equipment_id, id);
    if (c->equipment_id == 0 || bk_file_path(c->client->state_dir, folder, dir) != BK_OK ||
        bk_file_read(dir, id, bytes, sizeof bytes, &n) != BK_OK || n <= CERT_AT ||
        bytes[0] != VERSION) {
        return;
    }
    memcpy(out->came_to.ip, bytes + ADDR_AT, sizeof out->came_to.ip);
    out->came_to.port = (uint16_t)(bytes[PORT_AT] << 8 | bytes[PORT_AT + 1]);
    memcpy(out->box_key, bytes + BOX_AT, sizeof out->box_key);
    out->certificate_n = n - CERT_AT;
    memcpy(out->certificate, bytes + CERT_AT, out->certificate_n);
    c->known = *out;
    c->known_kept = true;
}

static void save(struct bk_outgoing *c)
{
    const struct bk_requester_known *known = &c->known;
    uint8_t bytes[FILE_BYTES];
    char dir[BK_PATH_BYTES], id[21];

    bytes[0] = VERSION;
    memcpy(bytes + ADDR_AT, known->came_to.ip, sizeof known->came_to.ip);
    bytes[PORT_AT] = (uint8_t)(known->came_to.port >> 8);
    bytes[PORT_AT + 1] = (uint8_t)known->came_to.port;
    memcpy(bytes + BOX_AT, known->box_key, sizeof known->box_key);
    memcpy(bytes + CERT_AT, known->certificate, known->certificate_n);
    bk_number_format(c->equipment_id, id);
    if (bk_file_path(c->client->state_dir, folder, dir) != BK_OK || bk_dir_make(dir) != BK_OK ||
        bk_file_write(dir, id, bk_slice(bytes, CERT_AT + known->certificate_n)) != BK_OK) {
        BK_OUTGOING_LOG(c, 1, "%s/%s/%s cannot be written", c->client->state_dir, folder, id);
    }
}

void bk_outgoing_settle_known(struct bk_outgoing *c)
{
    char path[BK_PATH_BYTES];

    if (!c->known_due) {
        return;
    }
    c->known_due = false;
    if (c->known.came_to.port != 0) {
        save(c);
    } else if (path_of(c, path) == BK_OK) {
        (void)unlink(path);
    }
}

static void on_settle(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    bk_outgoing_settle_known(ctx);
}

void bk_outgoing_learn(struct bk_outgoing *c, const struct bk_requester_known *told)
{
    struct bk_addr came_to = c->known.came_to;
    bool same = c->known_kept && c->known.certificate_n == told->certificate_n &&
                memcmp(c->known.certificate, told->certificate, told->certificate_n) == 0 &&
                memcmp(c->known.box_key, told->box_key, sizeof told->box_key) == 0;

    c->known = *told;
    c->known.came_to = came_to;
    c->known_changed = !same;
}

/* Its first session is in use: `came_to`, or port 0 where it came by none of our own addresses. */
void bk_outgoing_came_to(struct bk_outgoing *c, const struct bk_addr *came_to)
{
    struct timeval later = bk_timeval_ms(LATER_MS);
    bool global = came_to->port != 0 && bk_addr_scope(came_to) == BK_SCOPE_GLOBAL;
    bool same =
        c->known_kept && !c->known_changed && global && bk_addr_same_ip(came_to, &c->known.came_to);

    if (same || c->known.certificate_n == 0 || (!global && !c->known_kept)) {
        return;
    }
    c->known.came_to = global ? *came_to : (struct bk_addr){0};
    c->known_due = true;
    if (c->settle == NULL) {
        c->settle = evtimer_new(c->client->base, on_settle, c);
    }
    if (c->settle != NULL) {
        (void)evtimer_add(c->settle, &later);
    }
}
