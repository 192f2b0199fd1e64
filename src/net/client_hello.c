/* Finding the server name. Strict: every length must add up, though only one extension is of interest. */
#include "net/client_hello.h"

#include "base/reader.h"

enum {
    RECORD_HANDSHAKE = 22,
    RECORD_HEADER_BYTES = 5,
    CLIENT_HELLO = 1,
    RANDOM_BYTES = 32,
    EXTENSION_SERVER_NAME = 0,
    NAME_HOST = 0,
};

/* A vector with its length before it, of 1 or 2 bytes. */
static struct bk_slice vector(struct bk_reader *r, size_t length_bytes)
{
    size_t n = length_bytes == 1 ? bk_read_u8(r) : bk_read_u16(r);
    return bk_read_bytes(r, n);
}

/* ServerNameList: one host name, as all clients send it. */
static enum bk_err read_names(struct bk_slice extension, char name[BK_CLIENT_HELLO_NAME_BYTES])
{
    struct bk_reader r = bk_reader(extension);
    struct bk_reader list = bk_reader(vector(&r, 2));
    uint8_t type = bk_read_u8(&list);
    struct bk_slice host = vector(&list, 2);
    if (bk_reader_end(&r) != BK_OK || bk_reader_end(&list) != BK_OK || type != NAME_HOST ||
        host.n == 0 || !bk_slice_to_text(host, name, BK_CLIENT_HELLO_NAME_BYTES)) {
        return BK_E_MALFORMED;
    }
    return BK_OK;
}

static enum bk_err read_extensions(struct bk_slice extensions,
                                   char name[BK_CLIENT_HELLO_NAME_BYTES])
{
    struct bk_reader r = bk_reader(extensions);
    bool seen = false;
    while (r.err == BK_OK && r.left.n > 0) {
        uint16_t type = bk_read_u16(&r);
        struct bk_slice value = vector(&r, 2);
        if (r.err == BK_OK && type == EXTENSION_SERVER_NAME) {
            if (seen || read_names(value, name) != BK_OK) {
                return BK_E_MALFORMED;
            }
            seen = true;
        }
    }
    return r.err == BK_OK ? BK_OK : BK_E_MALFORMED;
}

static enum bk_err read_hello(struct bk_slice body, char name[BK_CLIENT_HELLO_NAME_BYTES])
{
    struct bk_reader r = bk_reader(body);
    uint8_t major = bk_read_u8(&r);
    (void)bk_read_u8(&r);
    (void)bk_read_bytes(&r, RANDOM_BYTES);
    struct bk_slice session = vector(&r, 1);
    struct bk_slice suites = vector(&r, 2);
    struct bk_slice compressions = vector(&r, 1);
    if (r.err != BK_OK || major != 3 || session.n > 32 || suites.n == 0 || suites.n % 2 != 0 ||
        compressions.n == 0) {
        return BK_E_MALFORMED;
    }
    if (r.left.n == 0) {
        return BK_OK; /* no extensions: older than what we speak */
    }
    struct bk_slice extensions = vector(&r, 2);
    if (bk_reader_end(&r) != BK_OK) {
        return BK_E_MALFORMED;
    }
    return read_extensions(extensions, name);
}

enum bk_err bk_client_hello_name(struct bk_slice got, char name[BK_CLIENT_HELLO_NAME_BYTES])
{
    struct bk_reader r = bk_reader(got);
    name[0] = '\0';
    /* What is there already must be right: what cannot become a ClientHello is not waited for. */
    if (got.n > 0 && bk_read_u8(&r) != RECORD_HANDSHAKE) {
        return BK_E_MALFORMED;
    }
    if (got.n > 1 && bk_read_u8(&r) != 3) {
        return BK_E_MALFORMED;
    }
    if (got.n < RECORD_HEADER_BYTES) {
        return BK_E_TRUNCATED;
    }
    (void)bk_read_u8(&r);
    size_t length = bk_read_u16(&r);
    if (length < 4 || length > BK_CLIENT_HELLO_MAX_BYTES - RECORD_HEADER_BYTES) {
        return BK_E_MALFORMED;
    }
    if (length > r.left.n) {
        return BK_E_TRUNCATED;
    }
    struct bk_reader record = bk_reader(bk_read_bytes(&r, length));
    uint8_t type = bk_read_u8(&record);
    size_t n = (size_t)bk_read_u8(&record) << 16;
    n |= bk_read_u16(&record);
    if (type != CLIENT_HELLO || n != record.left.n) {
        return BK_E_MALFORMED;
    }
    enum bk_err err = read_hello(record.left, name);
    if (err != BK_OK) {
        name[0] = '\0';
    }
    return err;
}
