/* The messages between the agent's two parts. A packet is taken whole or refused. */
#include "lib/channel.h"

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>

#include "base/reader.h"
#include "base/writer.h"

static void write_addr(struct bk_writer *w, const struct bk_addr *a)
{
    bk_write_bytes(w, BK_SLICE_OF(a->ip));
    bk_write_u16(w, a->port);
}

static void read_addr(struct bk_reader *r, struct bk_addr *a)
{
    bk_read_copy(r, a->ip, sizeof a->ip);
    a->port = bk_read_u16(r);
}

static void write_tag(struct bk_writer *w, const struct bk_tag *tag)
{
    bk_write_u64(w, tag->random);
    bk_write_u32(w, tag->counter);
}

static void read_tag(struct bk_reader *r, struct bk_tag *tag)
{
    tag->random = bk_read_u64(r);
    tag->counter = bk_read_u32(r);
}

static void write_box(struct bk_writer *w, const struct bk_channel_message *in)
{
    assert(in->box_n >= 1 && in->box_n <= sizeof in->box);
    bk_write_bytes(w, bk_slice(in->box, in->box_n));
}

static void write_request(struct bk_writer *w, const struct bk_channel_message *in)
{
    struct bk_slice user = bk_slice_text(in->user);

    bk_write_bytes(w, BK_SLICE_OF(in->call_id));
    bk_write_u8(w, (uint8_t)user.n);
    bk_write_bytes(w, user);
    write_box(w, in);
}

/* The box is what is left, the last of its message. */
static void read_box(struct bk_reader *r, struct bk_channel_message *out)
{
    out->box_n = r->left.n;
    if (out->box_n >= 1 && out->box_n <= sizeof out->box) {
        bk_read_copy(r, out->box, out->box_n);
    } /* else what is left over is not taken */
}

static void read_request(struct bk_reader *r, struct bk_channel_message *out)
{
    struct bk_slice user;

    bk_read_copy(r, out->call_id, sizeof out->call_id);
    user = bk_read_bytes(r, bk_read_u8(r));
    if (user.n == 0 || bk_name_valid(user)) {
        (void)bk_slice_to_text(user, out->user, sizeof out->user);
        read_box(r, out);
    }
}

static void encode(struct bk_writer *w, const struct bk_channel_message *in)
{
    bk_write_u8(w, (uint8_t)in->type);
    switch (in->type) {
    case BK_CHANNEL_HELLO:
        assert(in->n_servers >= 1 && in->n_servers <= BK_CHANNEL_SERVERS_MAX);
        write_addr(w, &in->observed);
        bk_write_u64(w, in->unix_s);
        bk_write_u8(w, in->server_index);
        bk_write_u16(w, in->agent_port);
        bk_write_u8(w, (uint8_t)in->n_servers);
        for (size_t i = 0; i < in->n_servers; i++) {
            write_addr(w, &in->servers[i]);
        }
        bk_write_u8(w, in->fast);
        if (in->fast) {
            write_request(w, in);
        }
        break;
    case BK_CHANNEL_ADMIT:
        bk_write_bytes(w, BK_SLICE_OF(in->facts.call_id));
        bk_write_u64(w, in->facts.unix_s);
        bk_write_u8(w, in->facts.has_tag);
        write_tag(w, &in->facts.tag);
        bk_write_u8(w, in->facts.has_key);
        bk_write_bytes(w, BK_SLICE_OF(in->facts.key));
        break;
    case BK_CHANNEL_VERDICT:
        bk_write_u8(w, (uint8_t)in->verdict);
        write_tag(w, &in->tag);
        bk_write_u64(w, in->unix_s);
        break;
    case BK_CHANNEL_PROOF:
        bk_write_u8(w, in->right);
        break;
    case BK_CHANNEL_DIALS:
        assert(in->n_dials >= 1 && in->n_dials <= BK_CHANNEL_DIALS_MAX);
        for (size_t i = 0; i < in->n_dials; i++) {
            write_addr(w, &in->dials[i]);
        }
        break;
    case BK_CHANNEL_PERMIT:
        bk_write_u32(w, in->permitted);
        break;
    case BK_CHANNEL_RESULT:
        bk_write_u8(w, in->number);
        write_box(w, in);
        break;
    case BK_CHANNEL_TOLD:
        bk_write_u8(w, in->number);
        bk_write_u8(w, in->good);
        break;
    }
}

enum bk_err bk_channel_send(int fd, const struct bk_channel_message *in)
{
    uint8_t buf[BK_CHANNEL_MAX_BYTES];
    struct bk_writer w = bk_writer(buf, sizeof buf);
    ssize_t n;

    encode(&w, in);
    do {
        n = send(fd, w.buf, w.len, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EPIPE || errno == ECONNRESET ? BK_E_CLOSED : BK_E_IO;
    }
    return BK_OK;
}

static enum bk_err decode_hello(struct bk_reader *r, struct bk_channel_message *out)
{
    uint8_t n_servers;

    read_addr(r, &out->observed);
    out->unix_s = bk_read_u64(r);
    out->server_index = bk_read_u8(r);
    out->agent_port = bk_read_u16(r);
    n_servers = bk_read_u8(r);
    if (out->server_index >= BK_AGENT_SERVERS_MAX || n_servers == 0 ||
        n_servers > BK_CHANNEL_SERVERS_MAX) {
        return BK_E_MALFORMED;
    }
    while (out->n_servers < n_servers) {
        read_addr(r, &out->servers[out->n_servers++]);
    }
    out->fast = bk_read_u8(r) != 0;
    if (out->fast) {
        read_request(r, out);
        return out->box_n > 0 ? BK_OK : BK_E_MALFORMED;
    }
    return BK_OK;
}

static enum bk_err decode(struct bk_slice bytes, struct bk_channel_message *out)
{
    struct bk_reader r = bk_reader(bytes);
    uint8_t type = bk_read_u8(&r);
    enum bk_err err = BK_OK;

    *out = (struct bk_channel_message){.type = (enum bk_channel_type)type};
    switch (type) {
    case BK_CHANNEL_HELLO:
        err = decode_hello(&r, out);
        break;
    case BK_CHANNEL_ADMIT:
        bk_read_copy(&r, out->facts.call_id, sizeof out->facts.call_id);
        out->facts.unix_s = bk_read_u64(&r);
        out->facts.has_tag = bk_read_u8(&r) != 0;
        read_tag(&r, &out->facts.tag);
        out->facts.has_key = bk_read_u8(&r) != 0;
        bk_read_copy(&r, out->facts.key, sizeof out->facts.key);
        break;
    case BK_CHANNEL_VERDICT: {
        uint8_t verdict = bk_read_u8(&r);

        err = verdict > BK_ADMISSION_BUSY ? BK_E_MALFORMED : BK_OK;
        out->verdict = (enum bk_admission_verdict)verdict;
        read_tag(&r, &out->tag);
        out->unix_s = bk_read_u64(&r);
        break;
    }
    case BK_CHANNEL_PROOF:
        out->right = bk_read_u8(&r) != 0;
        break;
    case BK_CHANNEL_DIALS:
        do {
            read_addr(&r, &out->dials[out->n_dials++]);
        } while (r.left.n > 0 && out->n_dials < BK_CHANNEL_DIALS_MAX);
        break;
    case BK_CHANNEL_PERMIT:
        out->permitted = bk_read_u32(&r);
        break;
    case BK_CHANNEL_RESULT:
        out->number = bk_read_u8(&r);
        read_box(&r, out);
        err = out->box_n > 0 ? BK_OK : BK_E_MALFORMED;
        break;
    case BK_CHANNEL_TOLD:
        out->number = bk_read_u8(&r);
        out->good = bk_read_u8(&r) != 0;
        break;
    default:
        return BK_E_MALFORMED;
    }
    return err == BK_OK && bk_reader_end(&r) == BK_OK ? BK_OK : BK_E_MALFORMED;
}

enum bk_err bk_channel_receive(int fd, struct bk_channel_message *out)
{
    uint8_t buf[BK_CHANNEL_MAX_BYTES];
    ssize_t n;

    do {
        n = recv(fd, buf, sizeof buf, MSG_TRUNC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK ? BK_E_TRUNCATED : BK_E_IO;
    }
    if (n == 0) {
        return BK_E_CLOSED;
    }
    if ((size_t)n > sizeof buf) {
        return BK_E_MALFORMED; /* its end is lost */
    }
    return decode(bk_slice(buf, (size_t)n), out);
}
