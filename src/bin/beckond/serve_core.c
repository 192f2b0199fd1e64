/* Between the core and the world: events in, actions carried out. What the store is asked is in serve_jobs.c. */

#include "bin/beckond/audit.h"
#include "bin/beckond/serve_private.h"
#include "bin/beckond/state.h"
#include "net/clock.h"
#include "seal/seal.h"

/* ---- actions ---- */

static void send_message(struct bk_serve *s, const struct bk_server_action *action)
{
    struct bk_serve_stream *stream = bk_serve_stream_find(s, action->message.stream);

    if (stream != NULL && !stream->closing) {
        if (stream->purpose == BK_STREAM_WATCH || stream->purpose == BK_STREAM_REGISTER) {
            bk_serve_stay(stream, action->message.bytes);
        }
        /* A peer that does not read loses its connection: `closed` will tell. */
        enum bk_err ignored = bk_conn_send(stream->conn, action->message.bytes);
        (void)ignored;
    }
}

static void carry_out(struct bk_serve *s)
{
    for (size_t i = 0; i < s->out.n; i++) {
        const struct bk_server_action *a = &s->out.actions[i];
        struct bk_serve_stream *stream;
        char line[BK_AUDIT_LINE_BYTES];

        switch (a->type) {
        case BK_SERVER_SEND_DATAGRAM:
            bk_serve_send_datagram(s, a);
            break;
        case BK_SERVER_SEND_MESSAGE:
            send_message(s, a);
            break;
        case BK_SERVER_CLOSE_STREAM:
            stream = bk_serve_stream_find(s, a->close.stream);
            if (stream != NULL && !stream->closing) {
                stream->closing = true;
                bk_conn_close(stream->conn);
            }
            break;
        case BK_SERVER_FIND_DEVICE:
        case BK_SERVER_ENROL:
        case BK_SERVER_RENEW:
            bk_serve_add_job(s, a);
            break;
        case BK_SERVER_SEND_INFO:
            bk_serve_send_info(s, a);
            break;
        case BK_SERVER_AUDIT:
            bk_audit_format(a, line);
            bk_say_bare("%s", line);
            break;
        }
    }
}

void bk_serve_input(struct bk_serve *s, const struct bk_server_event *event)
{
    struct bk_now now = bk_clock_now();

    bk_server_input(s->core, &now, event, &s->out);
    carry_out(s);
}

/* ---- time ---- */

/* Waking too early costs a little, so the timer is moved only when it would come too late. */
static void set_timer(struct bk_serve *s)
{
    bk_time at = bk_server_deadline(s->core);
    uint64_t left;
    struct timeval tv;

    if (at == BK_TIME_NEVER || at >= s->timer_at) {
        return;
    }
    s->timer_at = at;
    left = bk_time_left(bk_clock_now().mono, at);
    tv.tv_sec = (time_t)(left / BK_SECOND);
    tv.tv_usec = (suseconds_t)((left % BK_SECOND + 999) / 1000);
    if (tv.tv_usec >= 1000000) {
        tv.tv_sec++;
        tv.tv_usec -= 1000000;
    }
    (void)event_add(s->timer, &tv);
}

static void settle(struct bk_serve *s)
{
    bk_serve_do_jobs(s);
    set_timer(s);
}

void bk_serve_feed(struct bk_serve *s, const struct bk_server_event *event)
{
    bk_serve_input(s, event);
    settle(s);
}

void bk_serve_tick(struct bk_serve *s)
{
    struct bk_now now = bk_clock_now();

    s->timer_at = BK_TIME_NEVER;
    bk_server_timer(s->core, &now, &s->out);
    carry_out(s);
    settle(s);
}

/* ---- changes of the state by other processes ---- */

bool bk_serve_device_changed(void *serve, uint64_t equipment_id)
{
    struct bk_serve *s = serve;
    struct bk_store_device device;
    enum bk_err err = bk_store_device(s->store, equipment_id, &device);

    if (err == BK_OK) {
        bk_serve_raise_exception(s, equipment_id, device.generation == 0 ? 1 : device.generation,
                                 device.revoked);
        settle(s);
        bk_say("device %llu is %s", (unsigned long long)equipment_id,
               device.revoked ? "revoked" : "as the store has it");
    } else if (err != BK_E_NOTFOUND) {
        bk_serve_store_trouble(s);
        return false;
    }
    return true;
}

/* Closing the streams of a user is harmless where nothing has changed, so the store need not be asked. */
void bk_serve_user_changed(void *serve, struct bk_slice user)
{
    struct bk_serve *s = serve;
    char shown[4 * BK_NAME_MAX_BYTES + 8];

    /* Also where a successor of that name joins before the devices have asked again. */
    bk_serve_watch_replaced(s, user);
    bk_serve_end_user_streams(s, user);
    settle(s);
    bk_say_escape(user, shown, sizeof shown);
    bk_say("user %s has changed; connections of the past are closed", shown);
}

void bk_serve_grants_changed(void *serve, struct bk_slice user)
{
    struct bk_serve *s = serve;
    struct bk_server_event event = {.type = BK_SERVER_GRANTS_CHANGED};
    char shown[4 * BK_NAME_MAX_BYTES + 8];

    event.grants_changed.user = user;
    bk_serve_feed(s, &event);
    bk_say_escape(user, shown, sizeof shown);
    bk_say("the grants of user %s have changed; devices with calls of that user ask again", shown);
}

bool bk_serve_read_masters(struct bk_serve *s)
{
    struct bk_master_key keys[BK_SERVER_EPOCHS_MAX];
    size_t n = 0;
    enum bk_err err = bk_state_master_load(s->dir, keys, &n);

    if (err == BK_OK) {
        err = bk_server_set_masters(s->core, keys, n);
    }
    if (err != BK_OK) {
        bk_say("%s in %s: %s; the old keys stay in force", BK_STATE_MASTER_KEYS, s->dir,
               bk_err_text(err));
    }
    bk_wipe(keys, sizeof keys);
    settle(s);
    return err == BK_OK;
}

bool bk_serve_masters_changed(void *serve)
{
    struct bk_serve *s = serve;

    if (!bk_serve_read_masters(s)) {
        return false;
    }
    bk_say("the master keys have changed and been read again");
    return true;
}
