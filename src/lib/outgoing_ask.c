/* What an outgoing call asks its user: whether a device's key is the right one, and the password. */
#include <stdio.h>
#include <string.h>

#include "base/number.h"
#include "lib/outgoing_private.h"

/* Whoever was to answer has stopped the program instead, by Ctrl-C perhaps: true, and the call is ended. */
static bool interrupted(struct bk_outgoing *c)
{
    if (!bk_stop_raised(&c->client->stop)) {
        return false;
    }
    bk_outgoing_fail(c, BECKON_INTERRUPTED, "interrupted");
    return true;
}

/* True if the user says that this is the device meant: by --accept-new beforehand, or when asked. */
static bool confirmed(const struct bk_outgoing *c, const char *device, const char *pin)
{
    const struct beckon_client_options *options = &c->client->options;
    char shown[BK_NAME_MAX_BYTES + 32];

    if (options->accept_new) {
        return true;
    }
    if (c->name[0] == '\0') {
        (void)snprintf(shown, sizeof shown, "%s", device);
    } else {
        (void)snprintf(shown, sizeof shown, "%s (%s)", c->name, device);
    }
    return options->confirm != NULL && options->confirm(options->ctx, shown, pin) != 0;
}

/* Keeps what was confirmed, so that it is not asked again. */
static enum beckon_status keep(struct bk_outgoing *c, uint64_t equipment_id,
                               const uint8_t pin[BK_PIN_BYTES], struct beckon_error *error)
{
    const char *dir = c->client->state_dir;
    enum beckon_status status = bk_known_add(dir, equipment_id, pin, error);

    if (status == BECKON_OK && c->name[0] != '\0') {
        status = bk_known_add_name(dir, c->name, equipment_id, error);
    }
    return status;
}

void bk_outgoing_ask_pin(struct bk_outgoing *c, uint64_t equipment_id,
                         const uint8_t pin[BK_PIN_BYTES])
{
    char text[BK_PIN_TEXT_BYTES], device[21];
    uint8_t known[BK_PIN_BYTES];
    struct beckon_error error;
    bool found;

    bk_pin_format(pin, text);
    bk_number_format(equipment_id, device);
    if (bk_known_find(c->client->state_dir, equipment_id, &found, known, &error) != BECKON_OK) {
        bk_outgoing_fail(c, error.status, error.text);
    } else if (found &&
               memcmp(known, pin, BK_PIN_BYTES) != 0) { /* called by name: only now we know */
        (void)bk_key_changed(c->client->state_dir, equipment_id, &error);
        bk_outgoing_fail(c, error.status, error.text);
    } else if (!confirmed(c, device, text)) {
        if (interrupted(c)) {
            return;
        }
        if (found) { /* it is the name that is new */
            (void)bk_fail(
                &error, BECKON_KEY_CHANGED,
                "only the server says that %s is device %s; call it by that ID if it is, or give "
                "--accept-new",
                c->name, device);
            bk_outgoing_fail(c, error.status, error.text);
        }
        bk_outgoing_tell_type(c, BK_REQUESTER_PIN_REFUSED);
    } else if (keep(c, equipment_id, pin, &error) != BECKON_OK) {
        bk_outgoing_fail(c, error.status, error.text);
    } else {
        BK_OUTGOING_LOG(c, 1, "pinned device %s with key %s", device, text);
        bk_outgoing_tell_type(c, BK_REQUESTER_PIN_ACCEPTED);
    }
}

void bk_outgoing_ask_password(struct bk_outgoing *c, bool key_refused)
{
    const struct beckon_client_options *options = &c->client->options;
    struct bk_requester_event event = {.type = BK_REQUESTER_PASSWORD};
    char device[21];
    int n;

    if (key_refused) {
        BK_OUTGOING_LOG(c, 1, "the device does not take our own key; trying its password");
    }
    bk_number_format(c->equipment_id, device);
    n = options->password == NULL
            ? -1
            : options->password(options->ctx, device, c->password, sizeof c->password);
    if (n <= 0 || (size_t)n > sizeof c->password) {
        if (interrupted(c)) {
            return;
        }
        bk_outgoing_tell_type(c, BK_REQUESTER_NO_PASSWORD);
        return;
    }
    event.bytes = bk_slice(c->password, (size_t)n);
    bk_outgoing_tell(c, &event);
}
