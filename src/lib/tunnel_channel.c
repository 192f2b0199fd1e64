/* The messages between the idle part and its tunnel. A packet is taken whole or refused. */
#include "lib/tunnel_channel.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/reader.h"
#include "base/writer.h"

enum {
    PACKET_BYTES = 1 + BK_TUNNEL_MESSAGE_BYTES,
};

enum bk_err bk_tunnel_send(int fd, const struct bk_tunnel_message *in)
{
    uint8_t packet[PACKET_BYTES];
    struct bk_writer w = bk_writer(packet, sizeof packet);
    ssize_t n;

    bk_write_u8(&w, (uint8_t)in->type);
    switch (in->type) {
    case BK_TUNNEL_HELLO:
        bk_write_u8(&w, in->index);
        bk_write_u64(&w, in->unix_s);
        break;
    case BK_TUNNEL_UP:
        bk_write_u16(&w, in->port);
        break;
    case BK_TUNNEL_MESSAGE:
    case BK_TUNNEL_DOWN:
        bk_write_bytes(&w, in->bytes);
        break;
    }
    if (w.err != BK_OK) {
        return BK_E_RANGE;
    }
    do {
        n = send(fd, w.buf, w.len, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        return BK_OK;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) {
        return BK_E_NOSPACE;
    }
    return errno == EPIPE || errno == ECONNRESET ? BK_E_CLOSED : BK_E_IO;
}

static enum bk_err decode(struct bk_slice packet, struct bk_tunnel_message *out)
{
    struct bk_reader r = bk_reader(packet);
    uint8_t type = bk_read_u8(&r);

    switch (type) {
    case BK_TUNNEL_HELLO:
        out->index = bk_read_u8(&r);
        out->unix_s = bk_read_u64(&r);
        break;
    case BK_TUNNEL_UP:
        out->port = bk_read_u16(&r);
        break;
    case BK_TUNNEL_MESSAGE:
    case BK_TUNNEL_DOWN: {
        size_t n = r.left.n;

        bk_read_copy(&r, out->buf, n);
        out->bytes = bk_slice(out->buf, n);
        break;
    }
    default:
        return BK_E_MALFORMED;
    }
    out->type = (enum bk_tunnel_type)type;
    return bk_reader_end(&r) == BK_OK ? BK_OK : BK_E_MALFORMED;
}

enum bk_err bk_tunnel_receive(int fd, struct bk_tunnel_message *out)
{
    uint8_t packet[PACKET_BYTES + 1]; /* a longer one is cut, and seen to be */
    ssize_t n;

    *out = (struct bk_tunnel_message){0};
    do {
        n = recv(fd, packet, sizeof packet, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK ? BK_E_TRUNCATED : BK_E_IO;
    }
    if (n == 0) {
        return BK_E_CLOSED;
    }
    return (size_t)n > PACKET_BYTES ? BK_E_MALFORMED : decode(bk_slice(packet, (size_t)n), out);
}
