/* Failures of a call in words: what happened, and what to do. */
#include "lib/outgoing_text.h"

#include "lib/client_state.h"
#include "lib/fail.h"

static void key_refused(const struct bk_outgoing_facts *facts, struct beckon_error *error)
{
    char pin[BK_PIN_TEXT_BYTES];

    bk_pin_format(facts->pin, pin);
    (void)bk_fail(
        error, BECKON_KEY_CHANGED,
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
    (void)bk_fail(
        error, BECKON_NO_MAPPING,
        "no address for the device to call back (%s); switch on port mapping in the router, "
        "or map a port by hand and give --listen and --advertise",
        facts->why[0] != '\0' ? facts->why : "none was found");
}

static void no_path(const struct bk_outgoing_facts *facts, struct beckon_error *error)
{
    bool known = facts->why[0] != '\0';

    if (!facts->accepted) {
        (void)bk_fail(error, BECKON_NO_PATH,
                      "the device has the request and did not say what became of it; look at "
                      "beckon-agent's log there, and try again in a minute");
        return;
    }
    (void)bk_fail(
        error, BECKON_NO_PATH,
        "the device accepted the call but cannot reach our callback address, nor we it%s%s%s; "
        "check the port mapping and firewalls on this side (-v shows every candidate)",
        known ? " (" : "", facts->why, known ? ")" : "");
}

static void box_key_expired(struct beckon_error *error)
{
    (void)bk_fail(
        error, BECKON_KEY_CHANGED,
        "the server offered an expired box key: the device has not renewed it, the server "
        "is lying, or a clock is wrong; check this host's clock and that the device is "
        "online");
}

static void certificate_untimely(struct beckon_error *error)
{
    (void)bk_fail(error, BECKON_KEY_CHANGED,
                  "the device's certificate does not verify by this host's clock: it has expired, "
                  "or is not valid yet; check this host's clock; if that is right, do not trust "
                  "this server before its operator has explained it");
}

/* Failures that need no facts. */
static const struct {
    enum beckon_status status;
    const char *text;
} plain[] = {
    [BK_FAIL_UNKNOWN_DEVICE] =
        {BECKON_UNKNOWN_DEVICE,
         "the server knows no such device, or it is not granted to you; check "
         "the ID, or ask the operator for a grant"},
    [BK_FAIL_REVOKED] = {BECKON_REVOKED, "the device was revoked; ask the operator"},
    [BK_FAIL_USER_REVOKED] =
        {BECKON_REVOKED, "the server does not know our certificate any more: it was revoked or "
                         "replaced; join again with a new token"},
    [BK_FAIL_OFFLINE] =
        {BECKON_OFFLINE,
         "the device is offline; check its power and network, and that beckon-agent "
         "runs"},
    [BK_FAIL_OVERLOADED] = {BECKON_BUSY, "the server has too much to do; try again in a moment"},
    [BK_FAIL_CERTIFICATE] =
        {BECKON_KEY_CHANGED,
         "the device's certificate or box key does not verify; do not trust this "
         "server before its operator has explained it"},
    [BK_FAIL_PASSWORD] = {BECKON_REFUSED,
                          "the device refused the password; check it and try again"},
    [BK_FAIL_NO_PASSWORD] = {BECKON_REFUSED,
                             "a password is needed; give --password-file or BECKON_PASSWORD"},
    [BK_FAIL_KEY] =
        {BECKON_REFUSED,
         "the device does not know our key; add the line that \"beckon key\" prints to its "
         "authorized_users, or give --password-file or BECKON_PASSWORD"},
    [BK_FAIL_BACK_OFF] =
        {BECKON_REFUSED,
         "too many wrong passwords lately, or calls with a key that the device does not know; it "
         "takes none for up to a minute, try again then"},
    [BK_FAIL_NO_SERVICE] =
        {BECKON_NO_SERVICE,
         "the device offers us no such service; see [service] and [access] in its agent.conf"},
    [BK_FAIL_BUSY] = {BECKON_BUSY, "the device has too many calls; try again in a moment"},
    [BK_FAIL_STALE] =
        {BECKON_FAILED,
         "the device takes our request for an old one; check the clocks on both sides"},
};

void bk_outgoing_error(enum bk_requester_failure failure, const struct bk_outgoing_facts *facts,
                       struct beckon_error *error)
{
    if (failure == BK_FAIL_SERVER) {
        server_down(facts, error);
    } else if (failure == BK_FAIL_SERVER_PROTOCOL) {
        (void)bk_fail(error, BECKON_FAILED,
                      "server %s says something we do not understand; check the versions",
                      facts->server);
    } else if (failure == BK_FAIL_CERTIFICATE && facts->expired) {
        box_key_expired(error);
    } else if (failure == BK_FAIL_CERTIFICATE && facts->untimely) {
        certificate_untimely(error);
    } else if (failure == BK_FAIL_PIN_CHANGED) {
        (void)bk_key_changed(facts->state_dir, facts->equipment_id, error);
    } else if (failure == BK_FAIL_PIN_REFUSED) {
        key_refused(facts, error);
    } else if (failure == BK_FAIL_NO_CANDIDATE) {
        no_candidate(facts, error);
    } else if (failure == BK_FAIL_NO_ANSWER) {
        no_path(facts, error);
    } else {
        (void)bk_fail(error, plain[failure].status, "%s", plain[failure].text);
    }
}
