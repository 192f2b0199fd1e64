/* What the store answers to the server's core, and what the operator changes: revocations, grants, epochs. */
#include "server_events.h"

static const struct stream *stream_numbered(const struct world *w, uint64_t number)
{
    for (size_t i = 0; i < STREAMS; i++) {
        if (w->streams[i].number == number) {
            return &w->streams[i];
        }
    }
    return NULL;
}

static void answer_device(struct world *w, const struct query *q, uint8_t how)
{
    struct bk_server_event e = {.type = BK_SERVER_DEVICE};
    uint64_t other = how / 4 % DEVICES + 1;
    e.device.query = q->number;
    e.device.code = how % 4 == 0 ? BK_CODE_NOT_FOUND : 0;
    e.device.equipment_id = q->equipment_id == 0 || how % 32 == 31 ? other : q->equipment_id;
    e.device.certificate = bk_slice_text("certificate");
    e.device.box_key = bk_slice_text("box key");
    if (e.device.code == 0 && e.device.equipment_id <= DEVICES &&
        (q->equipment_id == 0 || q->equipment_id == e.device.equipment_id)) {
        w->devices[e.device.equipment_id - 1].granted = true;
        w->watch_granted = stream_numbered(w, q->stream);
    }
    input(w, &e, &no_licence);
    w->watch_granted = NULL;
}

static void answer_renew(struct world *w, const struct query *q, uint8_t how)
{
    struct bk_server_event e = {.type = BK_SERVER_RENEWED};
    e.renewed.query = q->number;
    e.renewed.code = how % 4 == 0 ? BK_CODE_FORBIDDEN : 0;
    e.renewed.generation = 1 + how / 4 % 4;
    e.renewed.certificate = bk_slice_text(how >= 128 ? "certificate" : "");
    input(w, &e, &no_licence);
}

/* Watches that the core must let go of; without memory it may not know that something is news. */
static void watches_end(struct world *w, uint64_t equipment_id, size_t user)
{
    for (size_t i = 0; i < STREAMS; i++) {
        struct stream *s = &w->streams[i];
        s->gone_quiet =
            s->gone_quiet || (s->number != 0 && s->watches &&
                              (s->user == user || s->peer.equipment_id == equipment_id));
    }
}

static void answer_enrol(struct world *w, const struct query *q, uint8_t how)
{
    struct bk_server_event e = {.type = BK_SERVER_ENROLLED};
    e.enrolled.query = q->number;
    e.enrolled.code = how % 4 == 0 ? BK_CODE_FORBIDDEN : 0;
    e.enrolled.certificate = bk_slice_text("certificate");
    e.enrolled.ca_certificate = bk_slice_text("authority");
    if (how % 4 == 1) {
        e.enrolled.user = bk_slice_text(server_users[0]);
    } else {
        e.enrolled.equipment_id = how / 16 % DEVICES + 1;
        e.enrolled.generation = 1 + how / 4 % 4;
    }
    if (e.enrolled.code == 0 && e.enrolled.equipment_id != 0 && e.enrolled.generation > 1) {
        struct device *d = &w->devices[e.enrolled.equipment_id - 1];
        if (e.enrolled.generation > d->lowest && w->memory.fail_from == 0) {
            watches_end(w, e.enrolled.equipment_id, 2);
        }
        d->lowest = e.enrolled.generation > d->lowest ? e.enrolled.generation : d->lowest;
    }
    input(w, &e, &no_licence);
}

void answer(struct world *w, const struct query *q, uint8_t how)
{
    if (q->type == BK_SERVER_ENROL) {
        answer_enrol(w, q, how);
    } else if (q->type == BK_SERVER_RENEW) {
        answer_renew(w, q, how);
    } else {
        answer_device(w, q, how);
    }
}

void on_answer(struct world *w)
{
    size_t first = feed_below(&w->f, QUERIES);
    uint8_t how = feed_u8(&w->f);
    for (size_t i = 0; i < QUERIES; i++) {
        struct query *at = &w->queries[(first + i) % QUERIES];
        struct query q = *at;
        if (q.number == 0) {
            continue;
        }
        *at = (struct query){0};
        answer(w, &q, how);
        return;
    }
}

void on_exception(struct world *w)
{
    uint8_t how = feed_u8(&w->f);
    struct device *d = &w->devices[how % DEVICES];
    struct bk_server_event e = {.type = BK_SERVER_EXCEPTION};
    e.exception.equipment_id = how % DEVICES + 1;
    e.exception.lowest_generation = how / 16 % 4;
    e.exception.revoked = how >= 128;
    if ((d->lowest != e.exception.lowest_generation || d->revoked != e.exception.revoked) &&
        w->memory.fail_from == 0) {
        watches_end(w, e.exception.equipment_id, 2);
    }
    d->lowest = e.exception.lowest_generation;
    d->revoked = e.exception.revoked;
    input(w, &e, &no_licence);
}

void on_grants_changed(struct world *w)
{
    size_t user = feed_below(&w->f, 2);
    struct bk_server_event e = {.type = BK_SERVER_GRANTS_CHANGED};
    e.grants_changed.user = bk_slice_text(server_users[user]);
    watches_end(w, UINT64_MAX, user);
    input(w, &e, &no_licence);
}

/* The operator makes an epoch, or retires some: those of the bits of `how`. */
void on_masters(struct world *w)
{
    uint8_t how = feed_u8(&w->f);
    uint16_t first = (uint16_t)(OLD_EPOCH + feed_below(&w->f, EPOCHS));
    struct bk_master_key m[BK_SERVER_EPOCHS_MAX] = {master_of(first)};
    size_t n = 1;
    bool distinct = true;
    unsigned places = 1u << first % 4;
    for (uint16_t i = 0; i < EPOCHS && n < BK_SERVER_EPOCHS_MAX; i++) {
        uint16_t epoch = (uint16_t)(OLD_EPOCH + i);
        if ((how >> i & 1) != 0 && epoch != first) {
            distinct = distinct && (places >> epoch % 4 & 1) == 0;
            places |= 1u << epoch % 4;
            m[n++] = master_of(epoch);
        }
    }
    enum bk_err err = bk_server_set_masters(w->server, m, n);
    require(err == (distinct ? BK_OK : BK_E_RANGE));
    bk_server_set_requests(w->server, how % 16);
    if (!distinct) {
        return;
    }
    memcpy(w->config.master, m, sizeof m);
    w->config.n_master = n;
    for (size_t i = 0; i < DEVICES; i++) {
        struct device *d = &w->devices[i];
        d->row_accepted = d->row_accepted && accepted(w, d->row_epoch);
    }
}

void on_user_revoked(struct world *w)
{
    size_t revoked = feed_below(&w->f, 2);
    const char *user = server_users[revoked];
    struct bk_server_event e = {.type = BK_SERVER_USER_REVOKED};
    e.user_revoked.user = bk_slice_text(user);
    watches_end(w, UINT64_MAX, revoked);
    for (size_t i = 0; i < STREAMS; i++) {
        struct stream *s = &w->streams[i];
        s->gone_quiet = s->gone_quiet || strcmp(s->peer.name, user) == 0;
    }
    input(w, &e, &no_licence);
}
