/* Connections that stay: watches of devices with calls up, silent for as long as these last, and registrations of
 * devices that UDP does not carry. They are counted, in all and by where they come from, so that there is always
 * room for others; a device that finds no room asks again later, and its call lives on meanwhile. */
#include <string.h>

#include "bin/beckond/audit.h"
#include "bin/beckond/serve_private.h"
#include "net/clock.h"
#include "wire/stun.h"
#include "wire/watch.h"

enum bk_err bk_serve_watches_init(struct bk_serve *s)
{
    struct bk_alloc alloc = bk_alloc_libc();
    struct bk_random rng = bk_random_system();
    uint64_t seed[2] = {bk_random_u64(&rng), bk_random_u64(&rng)};

    s->max_watches = s->max_streams / 4 * 3;
    return bk_map_init(&s->watches_by_address, &alloc, seed, 64);
}

void bk_serve_watches_fini(struct bk_serve *s)
{
    if (s->watches_by_address.entries != NULL) {
        bk_map_fini(&s->watches_by_address);
    }
}

bool bk_serve_watch_enter(struct bk_serve *s, struct bk_conn *conn)
{
    struct bk_addr from = bk_conn_remote(conn);
    uint64_t key = bk_addr_rate_key(&from);
    uint64_t n = bk_map_get(&s->watches_by_address, key);

    if (s->n_watches >= s->max_watches || n >= BK_SERVE_WATCHES_PER_ADDRESS ||
        bk_map_put(&s->watches_by_address, key, n + 1) != BK_OK) {
        return false;
    }
    s->n_watches++;
    return true;
}

void bk_serve_watch_leave(struct bk_serve *s, const struct bk_addr *from)
{
    uint64_t key = bk_addr_rate_key(from);
    uint64_t n = bk_map_get(&s->watches_by_address, key);

    s->n_watches--;
    if (n > 1) {
        enum bk_err ignored = bk_map_put(&s->watches_by_address, key, n - 1); /* it is there */
        (void)ignored;
    } else {
        (void)bk_map_remove(&s->watches_by_address, key);
    }
}

/* ---- callers who are replaced under the same name ---- */

void bk_serve_watch_replaced(struct bk_serve *s, struct bk_slice user)
{
    bk_time until = bk_time_add(bk_clock_now().mono, BK_SERVE_REPLACED_S * BK_SECOND);

    for (uint32_t i = 0; s->n_watches > 0 && i < s->max_streams; i++) {
        const struct bk_serve_stream *stream = &s->streams[i];
        struct bk_serve_replaced *r = &s->replaced[s->next_replaced];
        if (stream->conn == NULL || stream->closing || stream->purpose != BK_STREAM_WATCH ||
            !bk_slice_equal(bk_slice_text(stream->watches), user)) {
            continue;
        }
        s->n_replaced += r->equipment_id == 0; /* else the oldest gives way */
        *r = (struct bk_serve_replaced){.equipment_id = stream->equipment_id, .until = until};
        memcpy(r->user, stream->watches, sizeof r->user);
        s->next_replaced = (s->next_replaced + 1) % BK_SERVE_REPLACED_MAX;
    }
}

/* Whether this is about such a call; it counts once. */
static bool is_replaced(struct bk_serve *s, const struct bk_serve_stream *stream)
{
    bk_time now = bk_clock_now().mono;
    bool found = false;

    for (uint32_t i = 0; s->n_replaced > 0 && !found && i < BK_SERVE_REPLACED_MAX; i++) {
        struct bk_serve_replaced *r = &s->replaced[i];
        if (r->equipment_id == 0) {
            continue;
        }
        found = r->until > now && r->equipment_id == stream->equipment_id &&
                strcmp(r->user, stream->watches) == 0;
        if (found || r->until <= now) {
            r->equipment_id = 0;
            s->n_replaced--;
        }
    }
    return found;
}

bool bk_serve_watch_asks(struct bk_serve_stream *stream, struct bk_slice message)
{
    struct bk_server_action ended = {.type = BK_SERVER_AUDIT};
    struct bk_stun m;
    struct bk_watch in;
    char line[BK_AUDIT_LINE_BYTES];

    if (bk_stun_read(message, &m) != BK_OK || m.method != BK_METHOD_WATCH ||
        bk_watch_read(&m, &in) != BK_OK ||
        !bk_slice_to_text(in.user, stream->watches, sizeof stream->watches) ||
        !is_replaced(stream->serve, stream)) {
        return false;
    }
    ended.audit.how = BK_AUDIT_CALL_REVOKED;
    ended.audit.user = bk_slice_text(stream->watches);
    ended.audit.equipment_id = stream->equipment_id;
    ended.audit.from = bk_conn_remote(stream->conn);
    bk_audit_format(&ended, line);
    bk_say_bare("%s", line);
    stream->refuse = BK_CODE_NOT_FOUND;
    bk_serve_answer_refused(stream, message);
    return true;
}

void bk_serve_stay(struct bk_serve_stream *stream, struct bk_slice message)
{
    struct bk_stun m;

    if (bk_stun_read(message, &m) != BK_OK || m.cls != BK_STUN_SUCCESS) {
        return;
    }
    if (m.method == BK_METHOD_WATCH) {
        bk_conn_set_idle(stream->conn, 0);
        bk_conn_set_dead(stream->conn, BK_SERVE_WATCH_DEAD_MS);
    } else if (m.method == BK_METHOD_REGISTER) {
        bk_conn_set_idle(stream->conn, BK_SERVE_REGISTER_IDLE_MS);
    }
}
