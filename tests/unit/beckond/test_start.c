/* The start of the server, and commands that change its state directory just then: before there is a socket to tell
 * it by, `beckond revoke` and `beckond epoch` take it that nobody serves. */
#include "beckond/setup.h"

#include <signal.h>

#include "bin/beckond/admin.h"
#include "bin/beckond/cmd.h"
#include "bin/beckond/hmac_openssl.h"
#include "bin/beckond/serve_private.h"
#include "bin/beckond/state.h"
#include "bin/beckond/store_sql.h"
#include "net/clock.h"
#include "net/sandbox.h"
#include "seal/seal.h"
#include "wire/register.h"

enum {
    DEVICE = 2133,
    NEW_EPOCH = 2, /* `beckond init` makes 1 */
};

/* The linker puts these in the place of admin.c's and sandbox.c's (CMakeLists.txt). */
enum bk_err __real_bk_admin_new(struct event_base *base, const struct bk_admin_config *config,
                                struct bk_admin **out);
enum bk_err __wrap_bk_admin_new(struct event_base *base, const struct bk_admin_config *config,
                                struct bk_admin **out);
enum bk_err __wrap_bk_sandbox_server(char *why, size_t why_bytes);

static struct fixture {
    char dir[64];
    struct bk_store *store; /* the commands' */
    struct bk_master_key fresh;
    struct event *look;
    bool break_store; /* instead of both */
    bool answered, confirmed;
    uint16_t code;
    bool (*tell)(void *ctx, uint64_t equipment_id);
} f;

/* The tests go on in this process. */
enum bk_err __wrap_bk_sandbox_server(char *why, size_t why_bytes)
{
    (void)why;
    (void)why_bytes;
    return BK_OK;
}

/* What the server says to a REGISTER of the device under that key. */
static void register_device(struct bk_serve *s, const struct bk_master_key *master)
{
    static uint8_t buf[256];
    const uint8_t txid[BK_STUN_TXID_BYTES] = {7};
    const struct bk_register in = {
        .equipment_id = DEVICE, .generation = 1, .epoch = master->epoch, .tag = {.random = 1}};
    const struct bk_mac_ops mac = bk_mac_openssl();
    struct bk_server_event event = {.type = BK_SERVER_DATAGRAM};
    struct bk_now now = bk_clock_now();
    uint8_t key[BK_KEY_BYTES];
    struct bk_register_answer answer;
    struct bk_stun m;

    bk_registration_key(&mac, master->key, DEVICE, 1, key);
    assert_int_equal(bk_register_write(buf, sizeof buf, txid, &in, &mac, BK_SLICE_OF(key),
                                       &event.datagram.bytes),
                     BK_OK);
    assert_int_equal(bk_addr_parse(bk_slice_text("127.0.0.1:5000"), 0, &event.datagram.from),
                     BK_OK);
    bk_server_input(s->core, &now, &event, &s->out);
    f.answered = s->out.n > 0;
    if (f.answered) {
        assert_int_equal(bk_stun_read(s->out.actions[0].datagram.bytes, &m), BK_OK);
        assert_int_equal(bk_register_answer_read(&m, &mac, BK_SLICE_OF(key), &answer), BK_OK);
        f.code = answer.code;
    }
}

static void look_and_stop(evutil_socket_t fd, short what, void *serve)
{
    (void)fd;
    (void)what;
    if (f.break_store) {
        assert_int_equal(bk_sql_exec(f.store, "ALTER TABLE devices RENAME TO elsewhere"), BK_OK);
        f.confirmed = f.tell(serve, DEVICE);
    } else {
        register_device(serve, &f.fresh);
    }
    assert_int_equal(raise(SIGTERM), 0);
}

/* A revocation, and a change of epochs, at the last moment at which nobody could be told. */
enum bk_err __wrap_bk_admin_new(struct event_base *base, const struct bk_admin_config *config,
                                struct bk_admin **out)
{
    const struct timeval at_once = {0};

    if (!f.break_store) {
        assert_int_equal(bk_store_revoke_device(f.store, DEVICE), BK_OK);
        assert_int_equal(bk_state_master_save(f.dir, &f.fresh, 1), BK_OK);
    }
    f.tell = config->device_changed;
    f.look = event_new(base, -1, 0, look_and_stop, config->ctx);
    assert_non_null(f.look);
    assert_int_equal(event_add(f.look, &at_once), 0);
    return __real_bk_admin_new(base, config, out);
}

static int make(void **state)
{
    char path[BK_STATE_PATH_BYTES], why[BK_STORE_WHY_BYTES];
    char init[] = "init", option[] = "--state", host_option[] = "--host", host[] = "h.example";
    char *argv[] = {init, option, f.dir, host_option, host, NULL};
    struct place *p;

    if (place_make(state) != 0 || bk_seal_init() != BK_OK) {
        return -1;
    }
    p = *state;
    (void)snprintf(f.dir, sizeof f.dir, "%.50s/state", p->dir);
    f.fresh = (struct bk_master_key){.epoch = NEW_EPOCH, .key = {3}};
    return bk_cmd_init.run(5, argv) == 0 && bk_state_path(f.dir, BK_STATE_STORE, path) == BK_OK &&
                   bk_store_open(path, &f.store, why) == BK_OK
               ? 0
               : -1;
}

static int drop(void **state)
{
    struct place *inner = calloc(1, sizeof *inner);
    void *at = inner;

    bk_store_close(f.store);
    if (inner == NULL) {
        return -1;
    }
    (void)snprintf(inner->dir, sizeof inner->dir, "%s", f.dir);
    (void)place_remove(&at);
    return place_remove(state);
}

static void invite(void)
{
    const struct bk_store_token token = {
        .role = BK_ROLE_DEVICE, .equipment_id = DEVICE, .expires_s = UINT32_MAX};
    const uint8_t hash[BK_STORE_HASH_BYTES] = {1};

    assert_int_equal(bk_store_token_add(f.store, hash, &token, 1), BK_OK);
}

static void serve(void)
{
    char path[BK_STATE_PATH_BYTES], why[BK_STORE_WHY_BYTES];
    struct bk_config config = {
        .n_listen = 1, .max_devices = 10, .relay_allocations = 1, .relay_user_allocations = 1};
    struct bk_serve_start start = {.dir = f.dir, .config = &config};

    invite();
    assert_int_equal(bk_addr_parse(bk_slice_text("127.0.0.1:0"), 0, &config.listen[0]), BK_OK);
    assert_int_equal(bk_state_path(f.dir, BK_STATE_STORE, path), BK_OK);
    assert_int_equal(bk_store_open(path, &start.store, why), BK_OK);
    assert_int_equal(bk_serve(&start), BECKON_OK);
    bk_store_close(start.store);
    event_free(f.look);
}

static void test_changes_before_the_socket(void **state)
{
    (void)state;
    f.break_store = false;
    serve();
    assert_true(f.answered); /* under the new epoch's key */
    assert_int_equal(f.code, BK_CODE_FORBIDDEN);
}

/* Whoever revokes must hear that the running server has not taken it over. */
static void test_a_change_that_cannot_be_read(void **state)
{
    (void)state;
    f.break_store = true;
    f.confirmed = true;
    serve();
    assert_false(f.confirmed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_changes_before_the_socket, make, drop),
        cmocka_unit_test_setup_teardown(test_a_change_that_cannot_be_read, make, drop),
    };

    return cmocka_run_group_tests_name("start", tests, NULL, NULL);
}
