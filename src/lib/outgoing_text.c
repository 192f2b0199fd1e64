#include "lib/outgoing_text.h"

#include "lib/client_state.h"
#include "lib/fail.h"

static void key_refused(const struct bk_outgoing_facts *facts, struct beckon_error *error)
{
    char pin[BK_PIN_TEXT_BYTES];

    bk_pin_format(facts->pin, pin);
    (void)bk_fail(error, BECKON_KEY_CHANGED,
                  "device %llu is not pinned and shows key %s; compare it with \"beckon-agent uri\" on "
                  "the device, then \"beckon pin\" that URI or give --accept-new",
                  (unsigned long long)facts->equipment_id, pin);
}

static void server_down(const struct bk_outgoing_facts *facts, struct beckon_error *error)
{
    (void)bk_fail(error, BECKON_SERVER_DOWN, "server %s: %s; check that it runs and is reachable",
                  facts->server,
                  facts->server_text[0] != '\0' ? facts->server_text : "it does not answer");
}

static void no_candidate(const struct bk_outgoing_facts *facts, struct beckon_error *error)
{
    (void)bk_fail(error, BECKON_NO_MAPPING,
                  "no address for the device to call back (%s); switch on port mapping in the router, "
                  "or map a port by hand and give --listen and --advertise",
                  facts->no_candidate[0] != '\0' ? facts->no_candidate : "none was found");
}

void bk_outgoing_error(enum bk_requester_failure failure, const struct bk_outgoing_facts *facts,
                       struct beckon_error *error)
{
    switch (failure) {
    case BK_FAIL_SERVER:
        server_down(facts, error);
        return;
    case BK_FAIL_SERVER_PROTOCOL:
        (void)bk_fail(error, BECKON_FAILED,
                      "server %s says something we do not understand; check the versions",
                      facts->server);
        return;
    case BK_FAIL_UNKNOWN_DEVICE:
        (void)bk_fail(error, BECKON_UNKNOWN_DEVICE,
                      "the server knows no such device, or it is not granted to you; check the ID, or "
                      "ask the operator for a grant");
        return;
    case BK_FAIL_REVOKED:
        (void)bk_fail(error, BECKON_REVOKED, "this device was revoked; ask the operator");
        return;
    case BK_FAIL_USER_REVOKED:
        (void)bk_fail(error, BECKON_REVOKED,
                      "the server does not know our certificate any more: it was revoked or replaced; "
                      "join again with a new token");
        return;
    case BK_FAIL_OFFLINE:
        (void)bk_fail(error, BECKON_OFFLINE,
                      "the device is offline; check its power and network, and that beckon-agent runs");
        return;
    case BK_FAIL_OVERLOADED:
        (void)bk_fail(error, BECKON_BUSY, "the server has too much to do; try again in a moment");
        return;
    case BK_FAIL_CERTIFICATE:
        (void)bk_fail(error, BECKON_KEY_CHANGED,
                      "the device's certificate or box key does not verify; do not trust this server "
                      "before its operator has explained it");
        return;
    case BK_FAIL_PIN_CHANGED:
        (void)bk_key_changed(facts->state_dir, facts->equipment_id, error);
        return;
    case BK_FAIL_PIN_REFUSED:
        key_refused(facts, error);
        return;
    case BK_FAIL_NO_CANDIDATE:
        no_candidate(facts, error);
        return;
    case BK_FAIL_PASSWORD:
        (void)bk_fail(error, BECKON_REFUSED, "the device refused the password");
        return;
    case BK_FAIL_BACK_OFF:
        (void)bk_fail(error, BECKON_REFUSED,
                      "too many wrong passwords lately; the device takes none for up to a minute");
        return;
    case BK_FAIL_NO_SERVICE:
        (void)bk_fail(error, BECKON_NO_SERVICE,
                      "the device offers no such service; see [service] in its agent.conf");
        return;
    case BK_FAIL_NO_ANSWER:
        (void)bk_fail(error, BECKON_NO_PATH,
                      "the device accepted the call but cannot reach our callback address; check the "
                      "port mapping and firewalls on this side (-v shows the candidates)");
        return;
    case BK_FAIL_BUSY:
        (void)bk_fail(error, BECKON_BUSY, "the device has too many calls; try again in a moment");
        return;
    case BK_FAIL_STALE:
        (void)bk_fail(error, BECKON_FAILED,
                      "the device takes our request for an old one; check the clocks on both sides");
        return;
    }
    (void)bk_fail(error, BECKON_FAILED, "the call failed");
}
