/* What an outgoing call asks its user: whether a device's key is the right one, and the password. */
#include <string.h>

#include "base/number.h"
#include "lib/outgoing_private.h"

void bk_outgoing_ask_pin(struct bk_outgoing *c, uint64_t equipment_id, const uint8_t pin[BK_PIN_BYTES])
{
    const struct beckon_client_options *options = &c->client->options;
    char text[BK_PIN_TEXT_BYTES], device[21];
    uint8_t known[BK_PIN_BYTES];
    struct beckon_error error;
    bool found;

    bk_pin_format(pin, text);
    bk_number_format(equipment_id, device);
    if (bk_known_find(c->client->state_dir, equipment_id, &found, known, &error) != BECKON_OK) {
        bk_outgoing_fail(c, error.status, error.text);
    } else if (found && memcmp(known, pin, BK_PIN_BYTES) != 0) { /* called by name: only now we know */
        (void)bk_key_changed(c->client->state_dir, equipment_id, &error);
        bk_outgoing_fail(c, error.status, error.text);
    } else if (found) {
        bk_outgoing_tell_type(c, BK_REQUESTER_PIN_ACCEPTED);
    } else if (!options->accept_new &&
               (options->confirm == NULL || options->confirm(options->ctx, device, text) == 0)) {
        bk_outgoing_tell_type(c, BK_REQUESTER_PIN_REFUSED);
    } else if (bk_known_add(c->client->state_dir, equipment_id, pin, &error) != BECKON_OK) {
        bk_outgoing_fail(c, error.status, error.text);
    } else {
        BK_OUTGOING_LOG(c, 1, "pinned device %s with key %s", device, text);
        bk_outgoing_tell_type(c, BK_REQUESTER_PIN_ACCEPTED);
    }
}

void bk_outgoing_ask_password(struct bk_outgoing *c)
{
    const struct beckon_client_options *options = &c->client->options;
    struct bk_requester_event event = {.type = BK_REQUESTER_PASSWORD};
    char device[21];
    int n;

    bk_number_format(c->equipment_id, device);
    n = options->password == NULL
            ? -1
            : options->password(options->ctx, device, c->password, sizeof c->password);
    if (n <= 0 || (size_t)n > sizeof c->password) {
        bk_outgoing_fail(c, BECKON_REFUSED, "a password is needed; give --password-file or BECKON_PASSWORD");
        return;
    }
    event.bytes = bk_slice(c->password, (size_t)n);
    bk_outgoing_tell(c, &event);
}
