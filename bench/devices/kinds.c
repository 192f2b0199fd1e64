#include "devices/kinds.h"

#include <stdio.h>
#include <string.h>

enum {
    STUN_HEADER_BYTES = 20,
    EPOCH_AT = 40,
    BINDING_SUCCESS = 0x0101,
    N2N_BYTES = 87,
    N2N_REGISTER = 1,
    N2N_REGISTER_ACK = 4,
};

static uint64_t noise(uint64_t n)
{
    uint64_t z = (n + 1) * UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static void fill(uint8_t *out, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i += sizeof seed) {
        uint64_t word = noise(seed + i);
        memcpy(out + i, &word, n - i < sizeof word ? n - i : sizeof word);
    }
}

static uint64_t seed_of(const struct load *l, uint32_t index)
{
    return (uint64_t)l->counter << 40 ^ (uint64_t)l->serial << 20 ^ index;
}

/* ---- ours ---- */

static size_t make_register(const struct load *l, uint32_t index, uint8_t *out)
{
    return wire_register(&l->wire, index, l->counter, false, l->serial, NULL, out);
}

static size_t make_quiet(const struct load *l, uint32_t index, uint8_t *out)
{
    return wire_register(&l->wire, index, l->counter, true, l->serial, NULL, out);
}

static bool is_success(const uint8_t *bytes, size_t n)
{
    const uint8_t *nonce;
    uint32_t index;

    return wire_answer(bytes, n, &index, &nonce) == ANSWER_SUCCESS;
}

static bool is_challenge(const uint8_t *bytes, size_t n)
{
    const uint8_t *nonce;
    uint32_t index;

    return wire_answer(bytes, n, &index, &nonce) == ANSWER_CHALLENGE;
}

/* Proven, but old: what somebody who listened on the way could send again, from elsewhere. */
static size_t make_replay(const struct load *l, uint32_t index, uint8_t *out)
{
    return wire_register(&l->wire, index, 1, false, l->serial, NULL, out);
}

/* Made without the key: everything right but the MAC. */
static size_t make_forged(const struct load *l, uint32_t index, uint8_t *out)
{
    size_t n = wire_register(&l->wire, index, l->counter, false, l->serial, NULL, out);

    fill(out + n - 24, 16, seed_of(l, index));
    wire_fingerprint(out, n);
    return n;
}

static size_t make_damaged(const struct load *l, uint32_t index, uint8_t *out)
{
    size_t n = wire_register(&l->wire, index, l->counter, false, l->serial, NULL, out);

    out[n - 1] ^= 1;
    return n;
}

/* A key of an epoch that there never was: known before any MAC is computed. */
static size_t make_epoch(const struct load *l, uint32_t index, uint8_t *out)
{
    size_t n = wire_register(&l->wire, index, l->counter, false, l->serial, NULL, out);

    out[EPOCH_AT] ^= 0x5A;
    wire_fingerprint(out, n);
    return n;
}

static size_t make_junk(const struct load *l, uint32_t index, uint8_t *out)
{
    fill(out, l->bytes, seed_of(l, index));
    return l->bytes;
}

/* ---- theirs ---- */

static size_t make_echo(const struct load *l, uint32_t index, uint8_t *out)
{
    memset(out, 0, l->bytes);
    memcpy(out, "echo", 4);
    memcpy(out + 4, &index, sizeof index);
    return l->bytes;
}

static bool is_echo(const uint8_t *bytes, size_t n)
{
    return n >= 8 && memcmp(bytes, "echo", 4) == 0;
}

static size_t make_binding(const struct load *l, uint32_t index, uint8_t *out)
{
    static const uint8_t head[8] = {0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xA4, 0x42};

    memcpy(out, head, sizeof head);
    fill(out + 8, STUN_HEADER_BYTES - 8, seed_of(l, index));
    return STUN_HEADER_BYTES;
}

static bool is_binding(const uint8_t *bytes, size_t n)
{
    return n > STUN_HEADER_BYTES && (bytes[0] << 8 | bytes[1]) == BINDING_SUCCESS;
}

static size_t make_sip(const struct load *l, uint32_t index, uint8_t *out)
{
    uint32_t a = 0x7F010000U + index;
    char ip[16];
    int n;

    (void)snprintf(ip, sizeof ip, "%u.%u.%u.%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
    n = snprintf((char *)out, DATAGRAM_BYTES,
                 "REGISTER sip:127.0.0.1 SIP/2.0\r\n"
                 "Via: SIP/2.0/UDP %s:40000;branch=z9hG4bK%u.%u.%u;rport\r\n"
                 "Max-Forwards: 70\r\n"
                 "From: <sip:%u@127.0.0.1>;tag=%u\r\n"
                 "To: <sip:%u@127.0.0.1>\r\n"
                 "Call-ID: %u@device\r\n"
                 "CSeq: %u REGISTER\r\n"
                 "Contact: <sip:%u@%s:40000>\r\n"
                 "Expires: 90\r\n"
                 "Content-Length: 0\r\n\r\n",
                 ip, l->counter, l->serial, index, index, index, index, index, l->counter, index,
                 ip);
    return (size_t)n;
}

static bool is_sip(const uint8_t *bytes, size_t n)
{
    return n > 11 && memcmp(bytes, "SIP/2.0 200", 11) == 0;
}

/* As the edge of Debian's n2n (1.3) sends it every 20 s: version and type, community, MAC address, two empty addresses
 * of IPv4, the transport's number. */
static size_t make_n2n(const struct load *l, uint32_t index, uint8_t *out)
{
    (void)l;
    memset(out, 0, N2N_BYTES);
    out[0] = 1;
    out[1] = N2N_REGISTER;
    memcpy(out + 4, "bench", 5);
    out[20] = 2;
    memcpy(out + 22, &index, sizeof index);
    out[32] = 2;
    out[52] = 2;
    out[84] = 0x11;
    return N2N_BYTES;
}

static bool is_n2n(const uint8_t *bytes, size_t n)
{
    return n > 4 && bytes[1] == N2N_REGISTER_ACK;
}

static const struct kind kinds[] = {
    {"register", true, true, make_register, is_success},
    {"quiet", false, true, make_quiet, NULL},
    {"replay", true, false, make_replay, is_challenge},
    {"forged", false, false, make_forged, NULL},
    {"damaged", false, false, make_damaged, NULL},
    {"epoch", false, false, make_epoch, NULL},
    {"junk", false, false, make_junk, NULL},
    {"echo", true, false, make_echo, is_echo},
    {"drop", false, false, make_echo, NULL},
    {"binding", true, false, make_binding, is_binding},
    {"sip", true, false, make_sip, is_sip},
    {"n2n", true, false, make_n2n, is_n2n},
};

const struct kind *kind_find(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            return &kinds[i];
        }
    }
    return NULL;
}

const char *kind_names(void)
{
    return "register quiet replay forged damaged epoch junk echo drop binding sip n2n";
}
