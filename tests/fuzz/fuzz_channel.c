/* Any packet between the agent's two parts. What is taken is sent and read again as the same message. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "lib/channel.h"

static int ends[2] = {-1, -1};

static bool same_tag(const struct bk_tag *a, const struct bk_tag *b)
{
    return a->random == b->random && a->counter == b->counter;
}

static bool same_dials(const struct bk_channel_message *a, const struct bk_channel_message *b)
{
    for (size_t i = 0; i < a->n_dials && i < b->n_dials; i++) {
        if (!bk_addr_equal(&a->dials[i], &b->dials[i])) {
            return false;
        }
    }
    return a->n_dials == b->n_dials && a->n_dials <= BK_CHANNEL_DIALS_MAX;
}

static bool same_servers(const struct bk_channel_message *a, const struct bk_channel_message *b)
{
    for (size_t i = 0; i < a->n_servers && i < b->n_servers; i++) {
        if (!bk_addr_equal(&a->servers[i], &b->servers[i])) {
            return false;
        }
    }
    return a->n_servers == b->n_servers && a->n_servers <= BK_CHANNEL_SERVERS_MAX;
}

static bool same_request(const struct bk_channel_message *a, const struct bk_channel_message *b)
{
    return a->fast == b->fast && memcmp(a->call_id, b->call_id, sizeof a->call_id) == 0 &&
           strcmp(a->user, b->user) == 0 && a->box_n == b->box_n && a->box_n <= sizeof a->box &&
           memcmp(a->box, b->box, a->box_n) == 0 && a->number == b->number && a->good == b->good;
}

static bool same(const struct bk_channel_message *a, const struct bk_channel_message *b)
{
    return a->type == b->type && a->server_index == b->server_index &&
           a->agent_port == b->agent_port && same_servers(a, b) &&
           bk_addr_equal(&a->observed, &b->observed) &&
           memcmp(a->facts.call_id, b->facts.call_id, sizeof a->facts.call_id) == 0 &&
           a->facts.unix_s == b->facts.unix_s && a->facts.has_tag == b->facts.has_tag &&
           same_tag(&a->facts.tag, &b->facts.tag) && a->verdict == b->verdict &&
           a->facts.has_key == b->facts.has_key &&
           memcmp(a->facts.key, b->facts.key, sizeof a->facts.key) == 0 &&
           same_tag(&a->tag, &b->tag) && a->unix_s == b->unix_s && a->right == b->right &&
           a->permitted == b->permitted && same_dials(a, b) && same_request(a, b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bk_channel_message once;
    struct bk_channel_message twice;
    if (ends[0] < 0) {
        require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) == 0);
    }
    if (size == 0 || size > 4096) {
        return 0; /* no packet: indistinguishable from the end */
    }
    require(send(ends[0], data, size, 0) == (ssize_t)size);
    enum bk_err err = bk_channel_receive(ends[1], &once);
    require(err == BK_OK || err == BK_E_MALFORMED);
    if (err == BK_OK) {
        require(size <= BK_CHANNEL_MAX_BYTES && once.type == data[0]);
        require(once.verdict <= BK_ADMISSION_BUSY);
        require(bk_channel_send(ends[1], &once) == BK_OK);
        require(bk_channel_receive(ends[0], &twice) == BK_OK && same(&once, &twice));
    }
    /* One packet, one message: nothing of it is left for the next. */
    require(bk_channel_receive(ends[1], &twice) == BK_E_TRUNCATED);
    return 0;
}
